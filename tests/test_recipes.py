"""Recipe files: what `extends` does, and that the shipped ones say what the paper says."""

from datetime import date
from pathlib import Path

import pytest

from factory.problems.code import check_code_map
from factory.problems.protected import SETTINGS
from factory.problems.registry import find_benchmark, registry
from factory.settings import RECIPES, load_recipe
from schemas.errors import RecipeError
from schemas.vocabulary import Cut, Domain

SMALL = """
[problems]
sources = [{ kind = "file", path = "a.jsonl" }]
limit = 5
[hint]
cuts = ["start", "end"]
branches = 3
"""


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_recipe_replaces_values_of_the_one_it_extends_and_keeps_the_others(tmp_path: Path) -> None:
    write(tmp_path, "below.toml", SMALL)
    above = write(tmp_path, "above.toml", 'extends = "below.toml"\n[hint]\ncuts = ["end"]\n[d_start]\nsamples = 2\n')
    recipe = load_recipe(above, {"hint.temperature": 0.5})
    assert (recipe.name, recipe.problems.limit, recipe.d_start.samples) == ("above", 5, 2)
    assert (recipe.hint.cuts, recipe.hint.branches, recipe.hint.temperature) == ((Cut.END,), 3, 0.5)


def test_a_recipe_may_extend_a_shipped_one(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "mine.toml", 'extends = "arxiv_v1"\n[problems]\nlimit = 7\n'), {})
    assert (recipe.problems.limit, recipe.engine.model) == (7, "Qwen/QwQ-32B-Preview")


@pytest.mark.parametrize(
    ("base", "said"), [("nowhere", "'nowhere'"), ("above.toml", "extends itself: above.toml -> above.toml")]
)
def test_a_recipe_that_extends_nothing_or_itself_is_refused(tmp_path: Path, base: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe(write(tmp_path, "above.toml", f'extends = "{base}"\n'), {})


def test_the_paper_recipes_say_what_the_paper_says() -> None:
    for name in ("arxiv_v1", "emnlp"):
        recipe = load_recipe(name, {})
        for own, n_calls in ((recipe.d_start, 6), (recipe.d_rft, 0)):
            assert (own.samples, own.temperature, own.top_p, own.max_calls) == (16, 0.6, 0.95, n_calls)
            quotas = own.selection
            assert (quotas.per_problem, quotas.quota_math, quotas.quota_code) == (1, 40_000, 10_000)
        assert (recipe.selection.quota_math, recipe.selection.quota_code, recipe.hint.max_calls) == (10_000, 2_000, 6)
        assert recipe.selection.drop_tool_errors is (name == "emnlp")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    assert load_recipe(path.stem, {}).description


def test_the_papers_recipe_protects_what_is_evaluated() -> None:
    recipe = load_recipe("arxiv_v1", {})
    named = {str(place).partition("?")[0] for place in recipe.decontamination.benchmarks}
    assert named == set(registry())
    for place in recipe.decontamination.benchmarks:
        assert isinstance(place, str)
        find_benchmark(place, SETTINGS)  # the settings behind the question mark exist


@pytest.mark.parametrize("name", ["arxiv_v1", "emnlp"])
def test_the_papers_code_problems(name: str) -> None:
    """About 10K, from Codeforces, CodeContests and LiveCodeBench before July 2024; 10K and 2K rows of D_seed."""
    recipe = load_recipe(name, {})
    code = [source for source in recipe.problems.sources if source.domain is Domain.CODE]
    assert [source.format for source in code] == ["code_contests", "codeforces", "contest"]
    assert 9_000 <= sum(source.limit or 0 for source in code) <= 11_000
    assert {source.released_before for source in code[1:]} == {date(2024, 6, 30)}
    assert (recipe.selection.quota_math, recipe.selection.quota_code) == (10_000, 2_000)
    for source in code:
        check_code_map(source)
