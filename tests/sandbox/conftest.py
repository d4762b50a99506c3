"""An open sandbox at every level, and a file that no guest may read."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from factory.sandbox import pool
from factory.sandbox.pool import Pool, open_sandbox
from schemas.vocabulary import SandboxLevel
from tests.sandbox.tools import CANARY


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[SandboxLevel.NAMESPACES, SandboxLevel.LANDLOCK], ids=str
)
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Pool]:
    os.environ["SANDBOX_CANARY"] = CANARY
    reason = await pool._try(request.param)
    if reason is not None:
        pytest.skip(f"level {request.param} is not available here: {reason}")
    opened = await open_sandbox(level=request.param, n_slots=2)
    assert isinstance(opened, Pool)
    yield opened
    await opened.aclose()


@pytest.fixture
def canary() -> Iterator[Path]:
    """A file that every user may read and write, in a folder that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="sandbox-test-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        file = folder / "secret.txt"
        file.write_text(CANARY)
        file.chmod(0o666)
        yield file
