"""Settings of all tests."""

from hypothesis import settings

settings.register_profile("busy", deadline=None)  # milliseconds of an example say nothing on a busy machine
settings.load_profile("busy")
