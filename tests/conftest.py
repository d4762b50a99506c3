"""Settings of all tests."""

from hypothesis import settings

settings.register_profile(
    "shared", deadline=None
)  # a busy machine is no failure; the tests of speed measure themselves
settings.load_profile("shared")
