"""How long the SQL that selects rows takes for a million candidates.

    python benchmarks/selection.py [--rows 1000000] [--check]

Candidates are made up: eight per problem, five sources, a third of them wrong. Once with the recipe's defaults, once
with everything that `[selection]` offers: pass rates, three rules for the best, quotas of sources, turns of sources.
"""

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

import duckdb

sys.path.insert(0, str(Path(__file__).parents[1]))

from factory.run import RecipeIds, run_params
from factory.settings import load_recipe
from warehouse.models import build_model, model_files

MOST_SECONDS = 30.0
EVERYTHING: dict[str, Any] = {
    "selection.min_pass_rate": 0.3,
    "selection.max_pass_rate": 0.9,
    "selection.best_of": ["least_repetition", "fewest_errors", "longest"],
    "selection.quota_source": {"s1": 1000},
    "selection.fill_by": "sources",
}
TABLES = (
    """create table intermediate.trajectories_judged as
    select
        't' || lpad((hash(i) % 1000000000)::varchar, 12, '0') || i as trajectory_id, null::varchar as parent_id,
        'p' || (i // 8) as problem_id, false as is_repaired, hash(i * 7) % 3 > 0 as is_correct, '' as verdict,
        2 as n_tool_calls, hash(i) % 3 as n_tool_success, (hash(i * 3) % 3)::bigint as n_tool_errors,
        random() as ngram_repetition, random() as line_repetition, (hash(i * 5) % 900)::bigint as n_tokens_model,
        if(hash(i * 7) % 3 > 0, null, 'wrong_answer') as drop_reason, false as delayed_computation,
        false as distrusts_output, 0::bigint as n_hand_calculations
    from range($n) as r (i)""",
    """create table staging.problems as
    select 'p' || i as problem_id, i as position, 'math' as domain, 's' || (i % 5) as source
    from range($n // 8 + 1) as r (i)""",
    """create table staging.trajectories as
    select
        trajectory_id, [{'hint_id': 'a', 'function': 'b', 'cut': 'c', 'trigger': 'd'}] as hints,
        null::varchar as answer_text, 'end' as stop_reason, n_tokens_model, 0 as n_tokens_hint, 0 as n_tokens_tool
    from intermediate.trajectories_judged where $n > 0""",
    """create table derived.duplicate_pairs as
    select 'r' as run_id, 'k' as kept_id, 'd' as dropped_id from range($n) as r (i) where i < 0""",
)


def main() -> None:
    """Measure, print the table, and exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    models = {model.name: model for model in model_files()}
    slowest = 0.0
    with duckdb.connect() as con:
        for schema in ("staging", "intermediate", "derived"):
            con.execute(f"create schema {schema}")
        for sql in TABLES:
            con.execute(sql, {"n": options.rows})
        build_model(con, models["intermediate.trajectories_live"], {})
        print(f"{options.rows:,} candidates\n\n{'settings':<12} {'seconds':>8}  outcome")
        for name, values in (("defaults", {}), ("everything", EVERYTHING)):
            params = run_params("d_seed", load_recipe("demo", values), RecipeIds("", "", "", "", ""), "r")
            started = time.monotonic()
            build_model(con, models["marts.trajectories_scored"], params)
            seconds = time.monotonic() - started
            slowest = max(slowest, seconds)
            counts = con.sql(
                "select coalesce(drop_reason, 'selected'), count(*) as n "
                "from marts.trajectories_scored group by 1 order by n desc"
            ).fetchall()
            print(f"{name:<12} {seconds:>8.2f}  {', '.join(f'{reason} {n:,}' for reason, n in counts)}")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB; bar: {MOST_SECONDS:g} s")
    if options.check and slowest > MOST_SECONDS:
        sys.exit(f"missed: {slowest:.1f} s")


if __name__ == "__main__":
    main()
