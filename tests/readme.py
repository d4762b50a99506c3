"""The README's commands, for the tests that run them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```sh([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(*, run: bool) -> list[str]:
    """Shell blocks of the README, in order: those that run anywhere, or those marked `no-run`."""
    return [body for marks, body in BLOCK.findall((ROOT / "README.md").read_text()) if ("no-run" in marks) is not run]
