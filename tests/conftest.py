"""Settings of all tests."""

import gc

from hypothesis import settings

settings.register_profile("busy", deadline=None)  # milliseconds of an example say nothing on a busy machine
settings.load_profile("busy")


def pytest_collection_finish() -> None:
    """Objects that exist before the first test are garbage never: each training collects, in full, many times."""
    gc.collect()
    gc.freeze()
