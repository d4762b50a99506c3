"""The step that repairs: what is left without a dropped block must give the recorded outputs again."""

import json
from pathlib import Path

import pytest

from schemas.tables import REPAIRS, SIGNALS, TRAJECTORIES
from tests.scripted_build import factory, write_recipe
from warehouse.store import Store

_ANY = r"multiplication: \d+ \* \d*"
CHECK = [
    # behind the first output a check that fails half-way; then one that is right, with or without what that one set
    {"pattern": _ANY + r".*```output\n\d{3,}\n```\n\Z", "reply": "Let me check.\n```python\n"},
    {"pattern": _ANY + r".*Let me check\.\n```python\Z", "reply": "\nc = 5\nprint(c * d, 1)\n```\n"},
    {"pattern": _ANY + r".*c \* d.*Error[^\n]*\n```\n\Z", "reply": "```python\n"},
    {"pattern": _ANY + r"[02468]\..*Error[^\n]*\n```\n```python\Z", "reply": "\nc = 5\nd = 2\nprint(c * d, 1)\n```\n"},
    {"pattern": _ANY + r"[13579]\..*Error[^\n]*\n```\n```python\Z", "reply": "\nd = 2\nprint(c * d, 1)\n```\n"},
    {
        "pattern": r"```output\n(\d{3,})\n```\n.*```output\n10 1\n```\n\Z",
        "reply": r"So the product is \1.",
        "finished": True,
    },
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repair")
    recipe = write_recipe(folder, count=8)
    script = folder / "script.jsonl"
    script.write_text("".join(json.dumps(rule) + "\n" for rule in CHECK) + script.read_text())
    recipe.write_text(recipe.read_text().replace('"cut_loop", ', '"drop_failed_attempts", '))
    done = factory("build", "d_seed", "--recipe", recipe, home=folder / "home")
    assert done.returncode == 0, done.stderr
    (folder / "stderr").write_text(done.stderr)
    return folder


def test_a_copy_is_made_where_the_rest_gives_the_same_and_not_where_it_needs_what_is_gone(home: Path) -> None:
    store = Store(home / "home")
    with store.read() as con:
        rows = con.sql(
            "select d.outcome, d.n_blocks_dropped, d.detail, d.rules, t.trajectory_id is not null as is_there, "
            "len(t.tool_calls) as n_calls, s.drop_reason as parent from derived.repairs as d "
            "left join raw.trajectories as t on t.trajectory_id = d.repaired_id "
            "left join marts.trajectories_scored as s on s.trajectory_id = d.trajectory_id"
        ).fetchall()
    assert {row[0] for row in rows} == {"made", "not_reproduced"}
    for outcome, n_dropped, detail, rules, is_there, n_calls, parent in rows:
        assert (n_dropped, rules) == (1, ["drop_failed_attempts"])
        if outcome == "made":
            assert (is_there, n_calls, parent, detail) == (True, 2, "repaired", "")
        else:
            assert (is_there, parent) != (True, "repaired"), "the parent stays live"
            assert detail.startswith("block 2 of 2: ok '10 1'; again: error \"NameError")
    assert "stay as they are" in (home / "stderr").read_text()


@pytest.mark.slow
def test_a_second_run_finds_nothing_left_to_do(home: Path) -> None:
    store = Store(home / "home")
    before = [store.shards(table) for table in (REPAIRS, TRAJECTORIES, SIGNALS)]
    assert all(before)
    done = factory("build", "d_seed", "--recipe", home / "test.toml", home=home / "home")
    assert done.returncode == 0, done.stderr
    assert [store.shards(table) for table in (REPAIRS, TRAJECTORIES, SIGNALS)] == before
