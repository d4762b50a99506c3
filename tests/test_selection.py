"""Selection on tables: difficulty, best of the problem, quotas of sources and domains; what a recipe may say of it."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from factory.builds.parts import check_quotas
from factory.settings import load_recipe
from schemas.errors import RecipeError
from schemas.recipe import Recipe, Selection
from schemas.vocabulary import BestOf, FillBy
from tests.builders import PARAMS, build, put, rows_of
from tests.test_models_marts import JUDGED


@dataclass(frozen=True)
class Row:
    """One judged candidate of a problem."""

    id: str
    problem: int
    tokens: int = 10
    errors: int = 0
    successes: int = 1
    calls: int = 1
    ngrams: float = 0.0
    by_hand: int = 0
    is_correct: bool | None = True
    is_repaired: bool = False


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        yield con


def choose(
    con: duckdb.DuckDBPyConnection, sources: list[tuple[str, str]], rows: list[Row], **params: Any
) -> dict[str, str | None]:
    """Drop reasons by id. `sources` are domain and source of problem 0, 1, ..., in the run's order."""
    put(con, "raw.problems", *({"problem_id": f"p{i}", "domain": d, "source": s} for i, (d, s) in enumerate(sources)))
    put(con, "raw.run_problems", *({"problem_id": f"p{i}", "position": i} for i, _ in enumerate(sources)))
    put(con, "raw.trajectories", *({"trajectory_id": r.id, "problem_id": f"p{r.problem}"} for r in rows))
    put(con, "derived.duplicate_pairs")
    con.execute("create schema if not exists intermediate")
    con.execute(f"create or replace table intermediate.trajectories_judged ({JUDGED})")
    reason = {True: None, False: "wrong_answer", None: "undecided"}
    con.executemany(
        f"insert into intermediate.trajectories_judged values ({', '.join('?' * 16)})",
        [
            [r.id, r.id[:-1] if r.is_repaired else None, f"p{r.problem}", r.is_repaired, r.is_correct, "", r.calls,
             r.successes, r.errors, r.ngrams, 0.0, r.tokens, reason[r.is_correct], False, False, r.by_hand]
            for r in rows
        ],
    )  # fmt: skip
    models = "staging.problems staging.trajectories intermediate.trajectories_live marts.trajectories_scored"
    build(con, *models.split(), **params)
    return dict(rows_of(con, "select trajectory_id, drop_reason from marts.trajectories_scored order by 1"))


def selected(reasons: dict[str, str | None]) -> list[str]:
    return [name for name, reason in reasons.items() if reason is None]


@pytest.mark.parametrize(
    ("rule", "best"),
    [
        ("fewest_errors", "b"), ("most_successes", "c"), ("fewest_calls", "d"), ("most_calls", "a"), ("shortest", "e"),
        ("longest", "f"), ("least_repetition", "g"), ("least_hand_calculation", "h"),
    ],
)  # fmt: skip
def test_each_rule_prefers_what_it_says(con: duckdb.DuckDBPyConnection, rule: str, best: str) -> None:
    usual = {"tokens": 50, "errors": 2, "successes": 2, "calls": 5, "ngrams": 0.2, "by_hand": 4}
    differs: dict[str, dict[str, Any]] = {
        "a": {"calls": 9}, "b": {"errors": 0}, "c": {"successes": 7}, "d": {"calls": 1}, "e": {"tokens": 3},
        "f": {"tokens": 90}, "g": {"ngrams": 0.1}, "h": {"by_hand": 0},
    }  # fmt: skip
    rows = [Row(name, 0, **{**usual, **own}) for name, own in differs.items()]
    assert selected(choose(con, [("math", "s")], rows, best_of=[rule])) == [best]
    assert {str(member) for member in BestOf} >= {rule}


def test_rules_decide_where_those_before_them_tie_and_the_id_at_last(con: duckdb.DuckDBPyConnection) -> None:
    rows = [
        Row("a", 0, tokens=9, errors=1),
        Row("b", 0, tokens=5, errors=1),
        Row("c", 0, tokens=7),
        Row("d", 0, tokens=7),
    ]
    one = [("math", "s")]
    assert selected(choose(con, one, rows, best_of=["fewest_errors", "longest"])) == ["c"]
    assert selected(choose(con, one, rows, best_of=["longest", "fewest_errors"])) == ["a"]
    assert selected(choose(con, one, rows, best_of=[], per_problem=2)) == ["a", "b"]


def test_difficulty_is_the_share_of_judged_candidates_that_are_right(con: duckdb.DuckDBPyConnection) -> None:
    rows = [
        Row("a1", 0), Row("a2", 0), Row("a3", 0, is_correct=None),  # 2 of 2
        Row("b1", 1), Row("b2", 1, is_correct=False),  # 1 of 2, whatever the repaired copy says
        Row("b2r", 1, is_repaired=True),
        Row("c1", 2), *(Row(f"c{i}", 2, is_correct=False) for i in range(2, 6)),  # 1 of 5
    ]  # fmt: skip
    got = choose(con, [("math", "s")] * 3, rows, min_pass_rate=0.5, max_pass_rate=0.9, per_problem=9)
    assert {name: got[name] for name in ("a1", "a2", "a3", "b1", "b2r", "c1", "c2")} == {
        "a1": "too_easy", "a2": "too_easy", "a3": "undecided", "b1": None, "b2r": None, "c1": "too_hard",
        "c2": "wrong_answer",
    }  # fmt: skip
    rates = rows_of(con, "select distinct problem_id, pass_rate from marts.trajectories_scored order by 1")
    assert rates == [("p0", 1.0), ("p1", 0.5), ("p2", 0.2)]


def test_sources_take_turns_where_the_recipe_wants_it(con: duckdb.DuckDBPyConnection) -> None:
    sources = [("math", "a")] * 4 + [("math", "b")] * 2 + [("code", "c")]
    rows = [Row(f"t{i}", i) for i in range(7)]
    assert selected(choose(con, sources, rows, quota_math=3)) == ["t0", "t1", "t2", "t6"]
    assert selected(choose(con, sources, rows, quota_math=3, fill_by="sources")) == ["t0", "t1", "t4", "t6"]
    assert selected(choose(con, sources, rows, quota_source='{"a": 1, "c": 0}')) == ["t0", "t4", "t5"]


problem_lists = st.lists(
    st.tuples(st.sampled_from(["math", "code"]), st.sampled_from(["a", "b", 'odd "name"'])), min_size=1, max_size=8
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_selected_is_what_a_greedy_choice_by_hand_gives(
    con: duckdb.DuckDBPyConnection, data: st.DataObject
) -> None:
    sources = data.draw(problem_lists)
    number = st.integers(0, len(sources) - 1)
    drawn = data.draw(
        st.lists(st.tuples(number, st.integers(0, 2), st.integers(0, 2), st.booleans()), min_size=1, max_size=16)
    )
    rows = [Row(f"t{i:02}", p, tokens=t, errors=e, is_correct=c) for i, (p, t, e, c) in enumerate(drawn)]
    quotas = data.draw(st.dictionaries(st.sampled_from(["a", 'odd "name"']), st.integers(0, 3)))
    limits = {"math": data.draw(st.integers(0, 5)), "code": data.draw(st.integers(0, 5))}
    per_problem, fill_by = data.draw(st.integers(1, 3)), data.draw(st.sampled_from(FillBy))
    params = Selection(
        per_problem=per_problem, quota_math=limits["math"], quota_code=limits["code"], fill_by=fill_by
    ).model_dump(mode="json") | {"quota_source": json.dumps(quotas)}
    got = choose(con, sources, rows, **params)
    shuffled = random.Random(len(rows)).sample(rows, len(rows))
    assert choose(con, sources, shuffled, **params) == got

    def fits(row: Row, chosen: list[Row]) -> bool:
        domain, source = sources[row.problem]
        used = Counter(sources[r.problem] for r in chosen)
        in_domain = sum(n for (d, _), n in used.items() if d == domain)
        in_problem = sum(r.problem == row.problem for r in chosen)
        in_source = used[domain, source]
        return in_domain < limits[domain] and in_problem < per_problem and in_source < quotas.get(source, 99)

    kept = [row for row in rows if got[row.id] is None]
    for row in rows:
        if got[row.id] is None:
            assert fits(row, [other for other in kept if other is not row])
        elif row.is_correct:
            assert not fits(row, kept)  # nothing could be added without breaking a limit
    turn = Counter[Any]()
    queue: list[tuple[int, int, Row]] = []
    for problem in range(len(sources)):
        good = [r for r in rows if r.problem == problem and r.is_correct]
        for row in sorted(good, key=lambda r: (r.errors, r.tokens, r.id))[:per_problem]:
            turn[sources[problem]] += 1
            queue.append((turn[sources[problem]] if fill_by is FillBy.SOURCES else 0, len(queue), row))
    by_hand: list[Row] = []
    for _, _, row in sorted(queue, key=lambda item: item[:2]):
        if fits(row, by_hand):
            by_hand.append(row)
    assert sorted(row.id for row in by_hand) == [row.id for row in kept]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"best_of": ["n_tokens"]}, "fewest_errors"),
        ({"best_of": ["shortest", "fewest_errors", "longest"]}, "'longest' decides nothing"),
        ({"best_of": ["shortest", "shortest"]}, "'shortest' decides nothing"),
        ({"min_pass_rate": 0.9, "max_pass_rate": 0.1}, "min_pass_rate 0.9 is above max_pass_rate 0.1"),
        ({"max_pass_rate": 1.5}, "less than or equal to 1"),
        ({"quota_source": {"a": -1}}, "greater than or equal to 0"),
        ({"fill_by": "luck"}, "'problems' or 'sources'"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Selection(**values)


def test_a_quota_of_a_source_that_is_not_there_is_refused() -> None:
    wrong = {"selection.quota_source": {"reasoning-gym/product": 3}, "d_start.selection.quota_source": {}}
    recipe: Recipe = load_recipe("demo", wrong)
    with pytest.raises(
        RecipeError, match=r"no source 'reasoning-gym/product'\.\n  sources: reasoning-gym/chain_sum, r"
    ):
        check_quotas("d_seed", recipe)
    check_quotas("d_start", recipe)
    check_quotas("d_seed", load_recipe("demo", {"selection.quota_source": {"reasoning-gym/products": 3}}))


def test_the_models_know_every_parameter_of_the_section() -> None:
    assert set(Selection.model_fields) <= set(PARAMS)
