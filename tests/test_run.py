"""Which settings name a run and its verdicts."""

from pathlib import Path

import pytest

from factory.run import Run, open_run
from factory.settings import load_recipe
from schemas.records import Problem
from schemas.vocabulary import Domain
from tests.programs import problem
from warehouse.store import Store

CODE = problem([{"input": "1", "output": "1"}])
MATH = CODE.model_copy(update={"domain": Domain.MATH, "tests": None, "gold_answer": "1", "problem_id": "q"})


def opened(folder: Path, problems: list[Problem], **settings: float) -> Run:
    recipe = load_recipe("demo", {name.replace("__", "."): value for name, value in settings.items()})
    return open_run("d_seed", recipe, Store(folder), "engine", problems, "")


@pytest.mark.parametrize("setting", ["judge__total_s", "judge__time_factor", "judge__max_test_s"])
def test_limits_of_programs_name_verdicts_where_there_are_programs(tmp_path: Path, setting: str) -> None:
    plain, changed = (opened(tmp_path, [MATH, CODE], **more) for more in ({}, {setting: 7.0}))
    assert plain.ids.judge != changed.ids.judge
    assert plain.run_id != changed.run_id
    plain, changed = (opened(tmp_path, [MATH], **more) for more in ({}, {setting: 7.0}))
    assert (plain.ids, plain.run_id) == (changed.ids, changed.run_id)


def test_the_sandbox_limits_name_verdicts_of_programs_alone(tmp_path: Path) -> None:
    for problems, same in (([MATH], True), ([CODE], False)):
        plain, changed = (opened(tmp_path, problems, **more) for more in ({}, {"sandbox__cpu_s": 7.0}))
        assert (plain.ids.judge == changed.ids.judge) is same
