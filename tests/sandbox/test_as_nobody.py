"""As root, the sandbox tests once more as an unprivileged user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.readme import ROOT, others_may_enter

pytestmark = pytest.mark.asyncio(loop_scope="package")


_AS_NOBODY = """
import os, sys
from factory.sandbox import kernel, view
kernel.unshare(kernel.CLONE_NEWNS)
kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
# An interpreter in a home folder is shown to everybody, inside this namespace only.
for path in (sys.base_prefix, sys.prefix):
    blocked = [p for p in [path, *map(str, __import__("pathlib").Path(path).parents)] if view.out_of_reach([p])]
    if blocked:
        top = min(blocked, key=len)
        source = os.open(path, os.O_PATH)
        kernel.mount("tmpfs", top, "tmpfs", 0, "mode=0755")
        os.makedirs(path)
        kernel.mount(f"/proc/self/fd/{source}", path, None, kernel.MS_BIND | kernel.MS_REC)
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
os.environ.update(HOME="/nonexistent", SANDBOX_AS_NOBODY="1")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; as a user, this file is that test")
@pytest.mark.skipif(not others_may_enter(ROOT), reason="the checkout lies in a folder that other users cannot enter")
@pytest.mark.slow
async def test_the_attacks_as_an_unprivileged_user() -> None:
    selection = "attack and not bomb or keeps_state or confine_process or written or survives"
    arguments = [
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "-rs",
        "-k",
        selection,
        str(Path(__file__).parent),
    ]
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, *arguments],
        capture_output=True, text=True, timeout=300, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    if "Operation not permitted" in done.stderr and "in <module>" in done.stderr:
        pytest.skip(f"root cannot make a mount namespace here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
