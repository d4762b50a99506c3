"""The README's commands, and where this checkout lies."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```sh([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def others_may_enter(folder: Path) -> bool:
    """Whether a user without rights can reach a folder: tests that become one need their code to be readable."""
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def blocks(*, run: bool) -> list[str]:
    """Shell blocks of the README, in order: those that run anywhere, or those marked `no-run`."""
    return [body for marks, body in BLOCK.findall((ROOT / "README.md").read_text()) if ("no-run" in marks) is not run]
