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

Opened = dict[tuple[SandboxLevel, tuple[str, ...]], Pool | str]


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def opened() -> AsyncIterator[Opened]:
    """The sandboxes of all tests of this folder: what one attack leaves behind, the next test meets."""
    os.environ["SANDBOX_CANARY"] = CANARY
    found: Opened = {}
    yield found
    for one in found.values():
        if isinstance(one, Pool):
            await one.aclose()


@pytest_asyncio.fixture(loop_scope="package", params=[SandboxLevel.NAMESPACES, SandboxLevel.LANDLOCK], ids=str)
async def sandbox(request: pytest.FixtureRequest, opened: Opened) -> AsyncIterator[Pool]:
    """With numpy and sympy loaded, as by default, unless the module says that its tests need less: `PRELOAD`."""
    level, preload = request.param, getattr(request.module, "PRELOAD", pool.PRELOAD)
    if (level, preload) not in opened:
        reason = await pool._try(level)
        fresh = reason or await open_sandbox(level=level, n_slots=2, preload=preload)
        assert isinstance(fresh, Pool | str)
        opened[level, preload] = fresh
    one = opened[level, preload]
    if isinstance(one, str):
        pytest.skip(f"level {level} is not available here: {one}")
    yield one
    for session in list(one._sessions):  # of a test that failed
        await session.aclose()


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
