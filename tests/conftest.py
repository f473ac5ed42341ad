"""Settings of all tests."""

import gc
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy", deadline=None)  # milliseconds of an example say nothing on a busy machine
settings.load_profile("busy")
# As a process does that verifies mathematics first: its workers are forked with the parsers loaded, then and later.
multiprocessing.set_forkserver_preload(["lenrl.verify.warm"])

LONG = {"launch", "training", "test_readme.py"}  # files and folders of real runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest begin first: one that begins last is waited for by the other workers."""
    here = Path(__file__).parent
    items.sort(key=lambda item: LONG.isdisjoint(item.path.relative_to(here).parts))


def pytest_collection_finish() -> None:
    """Objects that exist before the first test are garbage never: each training collects, in full, many times."""
    gc.collect()
    gc.freeze()
