"""What every row of the demo's D_seed must be, whichever engine made it."""

from pathlib import Path

import duckdb
from transformers import AutoTokenizer


def check_rows(snapshot: Path, *, at_least: int) -> None:
    """Look at the rows with a plain reader."""
    with duckdb.connect() as con:
        con.execute(f"create view rows as from read_parquet('{snapshot}/data/*.parquet')")

        def bad(condition: str) -> int:
            return int(con.sql(f"select count(*) from rows where not coalesce({condition}, false)").fetchall()[0][0])

        assert con.sql("select count(*) from rows").fetchall()[0][0] >= at_least
        assert con.sql("select count(*) - count(distinct problem_id) from rows").fetchall()[0][0] == 0
        assert bad("is_correct and replace(answer_text, ',', '')::double = gold_answer::double") == 0
        assert bad("not baseline_is_correct and length(baseline_text) > 0") == 0
        assert bad("len([c for c in tool_calls if c.status = 'ok' and c.stdout <> '']) > 0") == 0
        assert bad("array_to_string([s.text for s in segments], '') = completion") == 0
        assert bad("len([s for s in segments if s.origin not in ('model', 'hint', 'tool')]) = 0") == 0
        assert bad("len([s for s in segments if s.origin = 'hint']) = len(hints)") == 0
        assert bad("starts_with(completion, baseline_text[1:hints[1].char_offset])") == 0


def check_token_ids(snapshot: Path, model: Path) -> None:
    """Ids decode to exactly the text of their segment, by the library's own tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    with duckdb.connect() as con:
        segments = con.sql(f"select unnest(segments) from read_parquet('{snapshot}/data/*.parquet')").fetchall()
    assert len(segments) > 8
    for (segment,) in segments:
        decoded = tokenizer.decode(segment["token_ids"], clean_up_tokenization_spaces=False)
        assert decoded == segment["text"]
        assert len(segment["token_ids"]) == segment["n_tokens"]
