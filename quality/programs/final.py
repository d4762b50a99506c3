"""The program that a text ends up with."""

import re

from warehouse.fences import blocks


def final_program(text: str, entry_point: str | None) -> str:
    """The last closed Python block that defines the entry point, else the last Python block, else the whole text."""
    python = [block for block in blocks(text) if block.is_python]
    if entry_point:
        defining = [block for block in python if block.is_closed and _defines(block.code, entry_point)]
        if defining:
            return defining[-1].code
    return python[-1].code if python else text


def written_program(text: str, entry_point: str | None) -> str | None:
    """As `final_program`, but None where the text holds no Python block."""
    return final_program(text, entry_point) if any(block.is_python for block in blocks(text)) else None


def _defines(code: str, entry_point: str) -> bool:
    name = re.escape(entry_point.rpartition(".")[2])
    return re.search(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{name}\b|^{name}[ \t]*=", code, re.MULTILINE) is not None
