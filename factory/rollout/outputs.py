"""What the model gets to see of a tool output: how much of it, in which fence, in which tokens."""

import re

from schemas.protocols import Codec, ExecResult
from schemas.vocabulary import ExecStatus


def spelled(text: str, codec: Codec) -> tuple[str, list[int]]:
    r"""A text and its ids; characters that the vocabulary cannot spell are written as escapes, such as `\U00040000`.

    Byte-level vocabularies can lack bytes: that of SmolLM2 has neither 0xF1 and 0xF2, with which planes 4 to 11 begin,
    nor six of the control characters.
    """
    ids = codec.encode(text)
    if codec.decode(ids) == text:
        return text, ids
    known = {char: codec.decode(codec.encode(char)) == char for char in set(text)}
    text = "".join(char if known[char] else char.encode("unicode_escape").decode() for char in text)
    return text, codec.encode(text)


def shown_output(result: ExecResult, limit: int) -> tuple[str, bool]:
    """What the model sees: the output, then the last line of the traceback; the middle of a long text left out."""
    text = result.stdout
    if result.status is not ExecStatus.OK:
        lines = result.stderr.strip().splitlines()
        text += ("" if not text or text.endswith("\n") else "\n") + (lines[-1] if lines else f"[{result.status}]")
    if len(text) <= limit:
        return text, False
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}", True


def output_block(text: str) -> str:
    """A tool output as the model sees it. The fence outgrows any backticks inside, so the text cannot close it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = text if not text or text.endswith("\n") else text + "\n"
    return f"{fence}output\n{body}{fence}\n"
