"""`factory lineage`: what a snapshot was made from, back to the first model, as a table, JSON or Mermaid."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from factory.release.pull import locate
from factory.versions.frozen import name_of
from schemas.errors import FactoryError
from schemas.records import Manifest
from schemas.tables import TRAJECTORIES
from warehouse.files import readable_json
from warehouse.inputs import FrozenStore, members
from warehouse.snapshots import read_manifest, resolve

PROVENANCE = "provenance.json"
"""What `train run` leaves in a model's folder (train.provenance)."""


@dataclass(frozen=True)
class Node:
    """One thing of a lineage."""

    id: str
    kind: str
    """snapshot, run, recipe, model, shards, sql or parent."""
    name: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Lineage:
    """Things, and which was made from which: `edges` are (made, from)."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)

    def add(self, kind: str, name: str, made: str | None, **facts: Any) -> str:
        """Add a thing that `made` was made from; the same thing twice is one."""
        id_ = re.sub(r"\W+", "_", f"{kind}_{name}")
        self.nodes.setdefault(id_, Node(id_, kind, name, facts))
        if made is not None and (made, id_) not in self.edges:
            self.edges.append((made, id_))
        return id_

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"nodes": [asdict(n) for n in self.nodes.values()], "edges": [list(edge) for edge in self.edges]}

    def mermaid(self) -> str:
        """A Mermaid flowchart; arrows go from what was used to what was made."""
        lines = ["flowchart LR"]
        for node in self.nodes.values():
            facts = "".join(f"<br/>{key} {_short(value)}" for key, value in node.facts.items() if key in SHOWN)
            lines.append(f'    {node.id}["{_safe(node.kind)}: {_safe(node.name)}{facts}"]')
        lines += [f"    {source} --> {made}" for made, source in self.edges]
        return "\n".join(lines)


SHOWN = {"rows", "content_hash", "problems", "n_shards", "trained_on", "models"}


def _short(value: object) -> str:
    text = str(value)
    return _safe(text[:16] if re.fullmatch(r"[0-9a-f]{64}", text) else text)


def _safe(text: str) -> str:
    """Mermaid's way of writing what would end a label or be taken for markup."""
    return re.sub(r'["<>&#\[\]{}|`\\\r\n]', lambda match: f"#{ord(match[0])};", text)


def lineage(home: Path, reference: str) -> Lineage:
    """Follow a snapshot back: run, recipe, SQL, shards, parent, model, and what trained that model.

    Raises:
        SnapshotError: there is no such snapshot.
    """
    graph = Lineage()
    _snapshot(graph, home, locate(home, reference), None, set())
    return graph


def _snapshot(graph: Lineage, home: Path, folder: Path, made: str | None, seen: set[str]) -> None:
    manifest = read_manifest(folder)
    own = graph.add(
        "snapshot", manifest.snapshot, made, rows=manifest.n_rows, content_hash=manifest.content_hash,
        created_at=manifest.created_at.isoformat(timespec="seconds"), factory=manifest.factory_version,
        code_hash=manifest.code_hash,
    )  # fmt: skip
    if manifest.content_hash in seen:
        return
    seen.add(manifest.content_hash)
    if manifest.parent:
        graph.add("parent", manifest.parent, own)
    problems = next((row["rows_in"] for row in manifest.funnel), None)
    run = graph.add("run", manifest.run_id, own, build=name_of(manifest), problems=problems)
    graph.add("recipe", str(manifest.recipe.get("name", "?")), run, **(manifest.recipe_ids or {}))
    digest = manifest.sql_hashes
    graph.add("sql", f"{len(digest)} models", own, models=len(digest), **digest)
    _shards(graph, home, folder, manifest, run)
    _model(graph, home, manifest, run, seen)


def _shards(graph: Lineage, home: Path, folder: Path, manifest: Manifest, run: str) -> None:
    """The shards that hold the snapshot's rows, with how many, and how many others the run read."""
    listed = manifest.inputs or ()
    try:
        files = FrozenStore(home, manifest).shards(TRAJECTORIES)
    except FactoryError as error:
        graph.add("shards", "not in this home", run, why=str(error).partition("\n")[0], n_shards=len(listed))
        return
    held: dict[str, int] = {}
    if files:
        with duckdb.connect() as con:
            rows = con.execute(
                "select filename, count(distinct trajectory_id) from read_parquet(?, filename = true) "
                "where trajectory_id in (select trajectory_id from read_parquet(?)) group by 1 order by 1",
                [[str(path) for path in files], str(folder / "data" / "*.parquet")],
            ).fetchall()
        held = {Path(name).stem: n for name, n in rows}
    shas = {path.stem: sorted(members(path)) for path in files if path.stem in held}
    facts = {name: f"{n:,} rows, {', '.join(sha[:12] for sha in shas[name])}" for name, n in held.items()}
    graph.add("shards", TRAJECTORIES.name, run, n_shards=len(held), rows=sum(held.values()), **facts)
    for table in sorted({shard.table for shard in listed} - {TRAJECTORIES.name}):
        own = [shard for shard in listed if shard.table == table]
        hashes = {shard.name: f"{shard.n_rows:,} rows, {shard.sha256[:12]}" for shard in own}
        graph.add("shards", table, run, n_shards=len(own), **hashes)


def _model(graph: Lineage, home: Path, manifest: Manifest, run: str, seen: set[str]) -> None:
    """The model of a run, and the snapshot that trained it where its folder says so."""
    model = graph.add("model", manifest.engine, run, tokenizer=manifest.tokenizer)
    folder = Path(str(manifest.recipe.get("engine", {}).get("model", "")))
    if not (folder / PROVENANCE).is_file():
        return
    try:
        trained = readable_json(folder / PROVENANCE)
    except FactoryError:
        return
    graph.add("model", str(trained.get("base_model")), model)
    reference, digest = str(trained.get("snapshot")), trained.get("content_hash")
    try:
        found = resolve(home, reference)
        if read_manifest(found).content_hash == digest:
            _snapshot(graph, home, found, model, seen)
            return
    except FactoryError:
        pass
    graph.add("snapshot", reference, model, content_hash=digest, where="not in this home")
