"""Settings of all tests, and the sandbox that tests of verdicts on programs share."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import settings

from factory.sandbox.pool import open_sandbox
from schemas.errors import SandboxError
from schemas.protocols import Limits, Sandbox

settings.register_profile(
    "shared", deadline=None
)  # a busy machine is no failure; the tests of speed measure themselves
settings.load_profile("shared")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    """With short limits. A module's tests run in its loop: `pytest.mark.asyncio(loop_scope="module")`."""
    try:
        opened = await open_sandbox(limits=Limits(wall_s=20.0, cpu_s=1.0, memory_mb=256))
    except SandboxError as error:
        pytest.skip(f"no sandbox here: {error}")
    yield opened
    await opened.aclose()
