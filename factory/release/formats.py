"""One row of a snapshot as one row of each text format, and what that format cannot say.

Every row keeps the ids and the licence of what it was made from, so that it can be traced and filtered.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from factory.release.turns import tool_turns
from schemas.tables import MESSAGE, STRING
from schemas.vocabulary import ExportFormat

Row = Mapping[str, Any]
KEPT = ("trajectory_id", "problem_id", "domain", "source", "licence")
"""Columns that every exported trajectory keeps."""
KEPT_FIELDS = [pa.field(name, STRING) for name in KEPT]

NEEDED = {
    ExportFormat.MESSAGES: ("messages", "segments"),
    ExportFormat.PROMPT_COMPLETION: ("prompt", "completion"),
    ExportFormat.SHAREGPT: ("messages",),
    ExportFormat.PRETOKENISED: ("prompt", "segments", "stop_reason", "engine"),
}
"""Columns of a snapshot that a format is made from."""

SCHEMAS = {
    ExportFormat.MESSAGES: pa.schema([pa.field("messages", pa.list_(MESSAGE)), *KEPT_FIELDS]),
    ExportFormat.PROMPT_COMPLETION: pa.schema(
        [pa.field("prompt", STRING), pa.field("completion", STRING), *KEPT_FIELDS]
    ),
    ExportFormat.SHAREGPT: pa.schema(
        [
            pa.field("conversations", pa.list_(pa.struct([pa.field("from", STRING), pa.field("value", STRING)]))),
            *KEPT_FIELDS,
        ]
    ),
    ExportFormat.PRETOKENISED: pa.schema(
        [
            pa.field("input_ids", pa.list_(pa.int32())),
            pa.field("labels", pa.list_(pa.int32())),
            pa.field("origin", pa.list_(pa.int8())),
            *KEPT_FIELDS,
        ]
    ),
}

LOSES = {
    ExportFormat.MESSAGES: "token ids and authorship: an assistant turn holds model, hint and tool text, all with loss",
    ExportFormat.PROMPT_COMPLETION: "token ids and authorship: the completion holds model, hint and tool text, all with"
    " loss, and most trainers add an end token also where the budget cut the answer",
    ExportFormat.SHAREGPT: "token ids and authorship: one gpt turn holds model, hint and tool text, all with loss",
    ExportFormat.PRETOKENISED: "the text, which the ids decode to",
}
"""What a row of the format no longer says, compared with the snapshot."""
LOSES_IN_TURNS = "token ids, the output fences, and whether model or hint wrote a turn; the template's marks between"
LOSES_IN_TURNS += " code and output were not there when the text was sampled"

SHAREGPT_NAMES = {"system": "system", "user": "human", "assistant": "gpt"}


def messages_row(row: Row, *, in_turns: bool) -> dict[str, Any]:
    """A chat: system (where there was one), user, assistant; `in_turns`, with tool turns (`factory.release.turns`)."""
    messages = [dict(message) for message in row["messages"]]
    if in_turns:
        messages = messages[:-1] + tool_turns(row["segments"])
    return {"messages": messages, **kept(row)}


def prompt_completion_row(row: Row) -> dict[str, Any]:
    """Two texts. The prompt has the chat template applied already: a trainer must not apply one."""
    return {"prompt": row["prompt"], "completion": row["completion"], **kept(row)}


def sharegpt_row(row: Row) -> dict[str, Any]:
    """A chat as `conversations` of `from` (system, human, gpt) and `value`."""
    said = [{"from": SHAREGPT_NAMES[m["role"]], "value": m["content"]} for m in row["messages"]]
    return {"conversations": said, **kept(row)}


def kept(row: Row) -> dict[str, Any]:
    """Ids, domain, source and licence."""
    return {name: row[name] for name in KEPT}
