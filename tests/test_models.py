"""Model files: headers that cannot lie, and an order in which each runs after what it reads."""

import re
from pathlib import Path

import duckdb
import pytest

from schemas.errors import SqlError
from schemas.tables import STORED_TABLES
from tests.builders import PARAMS, build, put, rows_of
from warehouse import models
from warehouse.models import AUDITS, MODELS, build_models, model_files, parse_model

HEADER = """-- marts.things: what there is.
-- grain:   one row per thing
-- reads:   raw.problems, raw.runs
-- params:  $least  a number
-- audits:  things_are_good
-- why:     a test.
"""
BODY = "select p.problem_id from raw.problems as p join raw.runs as r on r.run_id = p.source where p.n > $least"


def test_a_header_that_tells_the_truth() -> None:
    model = parse_model("marts.things", HEADER + BODY)
    assert (model.name, model.summary) == ("marts.things", "what there is.")
    assert model.reads == {"raw.problems", "raw.runs"}
    assert model.params == {"least"}
    assert len(model.sha256) == 64


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("raw.problems, raw.runs", "raw.problems", "reads say raw.problems, the SQL has raw.problems, raw.runs"),
        ("raw.problems, raw.runs", "raw.problems, raw.runs, raw.more", "reads say raw.more, raw.problems, raw.runs"),
        ("raw.problems, raw.runs", "nothing", "reads say nothing"),
        ("$least  a number", "$most  a number", "params say most, the SQL has least"),
        ("-- params:  $least  a number\n", "", "params say nothing, the SQL has least"),
        ("$least  a number", "$least  a number\n--          $most  another", "params say least, most"),
        ("> $least", "> 1 -- as $least was", "params say least, the SQL has nothing"),
        ("> $least", "> length('$least')", "params say least, the SQL has nothing"),
        ("-- grain:   one row per thing\n", "", "header lacks grain"),
        ("-- reads:   raw.problems, raw.runs\n", "", "header lacks reads"),
        ("-- why:     a test.\n", "", "header lacks why"),
        ("-- marts.things: what there is.\n", "", "header lacks its title line"),
        ("-- marts.things:", "-- marts.other:", "header lacks its title line"),
        ("from raw.problems as p", "from problems as p", "write problems as schema.table"),
        ("select p.", "select select p.", "marts.things: "),
        ("p.n > $least", "p.n > 'open", "marts.things: "),
        ("> $least", "> $least; select 2", "a model is one select"),
        ("select p.problem_id", "create table x as select p.problem_id", "a model is one select"),
    ],
)
def test_each_lie_is_refused(old: str, new: str, says: str) -> None:
    text = HEADER + BODY
    assert text.count(old) == 1
    with pytest.raises(SqlError, match=re.escape(says)):
        parse_model("marts.things", text.replace(old, new))


def test_what_a_query_names_itself_is_not_read() -> None:
    sql = (
        "with p as (select 1 as x), q as (select x from p) select q.x from q cross join unnest([1]) as u (h), range(3)"
    )
    head = HEADER.replace("raw.problems, raw.runs", "raw.runs").replace("-- params:  $least  a number\n", "")
    assert parse_model("marts.things", head + sql + " cross join raw.runs").reads == {"raw.runs"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the shipped models."""
    monkeypatch.setattr(models, "MODELS", tmp_path)
    monkeypatch.setattr(models, "model_files", model_files.__wrapped__)
    return tmp_path


def write(folder: Path, name: str, reads: str) -> None:
    schema, table = name.split(".")
    (folder / schema).mkdir(exist_ok=True)
    sources = reads.split(", ")
    sql = f"select 1 as x from {sources[0]}" + "".join(f" cross join {source}" for source in sources[1:])
    text = f"-- {name}: a test.\n-- grain:   one row\n-- reads:   {reads}\n-- why:     a test.\n{sql}\n"
    (folder / schema / f"{table}.sql").write_text(text)


def test_each_model_follows_what_it_reads(folder: Path) -> None:
    write(folder, "a.first", "b.second, raw.runs")
    write(folder, "b.second", "c.third, c.fourth")
    write(folder, "c.third", "raw.problems")
    write(folder, "c.fourth", "c.third")
    for _ in range(3):
        assert [m.name for m in models.model_files()] == ["c.third", "c.fourth", "b.second", "a.first"]


def test_a_circle_is_refused(folder: Path) -> None:
    write(folder, "a.first", "b.second")
    write(folder, "b.second", "c.third, raw.runs")
    write(folder, "c.third", "a.first")
    with pytest.raises(SqlError, match="circle: ") as caught:
        models.model_files()
    assert all(name in str(caught.value) for name in ("a.first", "b.second", "c.third"))
    write(folder, "c.third", "c.third")
    with pytest.raises(SqlError, match=r"circle: c\.third -> c\.third"):
        models.model_files()


def test_a_table_that_nobody_makes_is_refused(folder: Path) -> None:
    write(folder, "a.first", "raw.runs, raw.nothing")
    with pytest.raises(SqlError, match=r"a\.first reads raw\.nothing, which no file and no step makes"):
        models.model_files()


def test_every_shipped_model_agrees_with_its_header() -> None:
    files = {f"{path.parent.name}.{path.stem}": path.read_text() for path in MODELS.glob("*/*.sql")}
    assert {model.name for model in model_files()} == set(files)
    done = set(STORED_TABLES)
    for model in model_files():
        assert parse_model(model.name, files[model.name]) == model
        assert model.reads <= done, model.name
        assert model.params <= PARAMS.keys(), model.name
        done.add(model.name)


def test_every_audit_that_a_header_names_exists() -> None:
    names = {path.stem for path in AUDITS.glob("*.sql")}
    for path in MODELS.glob("*/*.sql"):
        header = re.search(r"^-- audits: +(.*(?:\n-- {4,}.*)*)", path.read_text(), re.MULTILINE)
        assert set(re.findall(r"\w+", header[1] if header else "")) <= names, path.name


def test_all_models_run_on_an_empty_home_and_give_their_columns() -> None:
    with duckdb.connect() as con:
        for name in STORED_TABLES:
            put(con, name)
        build_models(con, PARAMS)
        for model in model_files():
            assert con.sql(f"from {model.name}").columns
        assert rows_of(con, "select distinct rows_in, rows_kept, rows_dropped, reasons from marts.funnel") == [
            (0, 0, 0, "")
        ]


def test_only_what_a_query_needs_is_built() -> None:
    with duckdb.connect() as con:
        for name in STORED_TABLES:
            put(con, name)
        build_models(con, PARAMS, needed_by="select b.completion from intermediate.baselines as b")
        made = rows_of(con, "select table_schema || '.' || table_name from information_schema.tables")
    assert {name for (name,) in made} - set(STORED_TABLES) == {
        "staging.problems", "staging.trajectories", "staging.verdicts", "intermediate.baselines",
    }  # fmt: skip


def test_what_duckdb_refuses_names_the_model() -> None:
    with duckdb.connect() as con:
        with pytest.raises(SqlError, match=r"staging\.verdicts: .*derived"):
            build(con, "staging.verdicts")
        put(con, "derived.verdicts")
        with pytest.raises(SqlError, match=r"staging\.verdicts: no value for \$judge_recipe_id"):
            build_models(con, {}, needed_by="from staging.verdicts")
