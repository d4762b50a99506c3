"""Where the kernel does not isolate, model-written code is not run."""

import asyncio
import platform
import sys

import pytest

from factory.sandbox import pool
from factory.sandbox.pool import open_sandbox
from schemas.errors import SandboxError
from schemas.vocabulary import SandboxLevel

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.fixture
def refusing_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(level: SandboxLevel) -> str | None:
        return None if level is SandboxLevel.NONE else f"unshare: Operation not permitted ({level})"

    monkeypatch.setattr(pool, "_try", refuse)


@pytest.mark.usefixtures("refusing_kernel")
async def test_code_is_not_run_where_the_kernel_does_not_isolate() -> None:
    with pytest.raises(SandboxError) as caught:
        await open_sandbox()
    text = str(caught.value)
    for part in (
        "namespaces: unshare: Operation not permitted (namespaces)",
        "landlock: unshare: Operation not permitted (landlock)",
        "user.max_user_namespaces",
        "docker run",
        "--i-trust-this-code",
        "nothing was executed",
    ):
        assert part in text


@pytest.mark.usefixtures("refusing_kernel")
async def test_no_isolation_only_on_the_users_word() -> None:
    with pytest.raises(SandboxError, match="i-trust-this-code"):
        await open_sandbox(level=SandboxLevel.NONE)
    trusted = await open_sandbox(trust=True, n_slots=1, preload=())
    assert trusted.level is SandboxLevel.NONE
    assert (await trusted.run("print(1)")).stdout == "1\n"
    session = await trusted.session()
    assert (await session.run("2")).stdout == "2\n"
    await session.aclose()
    await trusted.aclose()


@pytest.mark.usefixtures("refusing_kernel")
async def test_a_level_that_was_asked_for_is_not_replaced_by_a_weaker_one() -> None:
    with pytest.raises(SandboxError, match="namespaces"):
        await open_sandbox(level=SandboxLevel.NAMESPACES, trust=True)


async def test_other_systems_get_a_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxError, match="no system call table for riscv64 yet"):
        await open_sandbox()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="use Linux"):
        await open_sandbox()


async def test_probe_answers_for_every_isolating_level() -> None:
    assert (await asyncio.to_thread(pool.probe)).keys() == {SandboxLevel.NAMESPACES, SandboxLevel.LANDLOCK}
