"""`train run` in this process on a tiny model: what reaches TRL, what carries loss, going on, refusing."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from factory.engines.tokenizer import tokenizer_fingerprint
from schemas.errors import FactoryError, TrainingError
from schemas.training import ExampleSettings, TrainingRecipe
from tests.tiny_training import FAST, embedded_tokenizer, product_rows, real_rows, tiny_model, tiny_snapshot
from train import sft
from train.examples import NO_LOSS
from train.recipe import load_training_recipe
from train.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = tuple(value for value in FAST if value != "--set")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """A model this small is not faster on several, and far slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    tiny_snapshot(home, product_rows())
    return home


def recipe(*assignments: str) -> TrainingRecipe:
    return load_training_recipe("demo", [*QUICK, *assignments])


def run(home: Path, base: Path, out: Path, *assignments: str) -> Path:
    sft.train_model("d_seed@latest", str(base), recipe(*assignments), out, home)
    return out


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every batch that TRL computes a loss of, with that loss and what a plain forward pass says of it."""
    batches: list[dict[str, Any]] = []
    compute = Trainer.compute_loss

    def spy(self: Any, model: Any, inputs: dict[str, Any], **options: Any) -> Any:
        kept = {key: value.clone() for key, value in inputs.items() if hasattr(value, "clone")}
        with torch.no_grad():
            plain = {key: value for key, value in inputs.items() if key != "labels"}
            log_probs = model(**plain).logits.float().log_softmax(-1)[:, :-1]
        loss = compute(self, model, inputs, **options)
        n_items = options["num_items_in_batch"]
        batches.append({**kept, "log_probs": log_probs, "loss": float(loss.detach()), "n_items": int(n_items)})
        return loss

    monkeypatch.setattr(Trainer, "compute_loss", spy)
    return batches


def documents(batches: list[dict[str, Any]]) -> list[tuple[list[int], list[int]]]:
    """Ids and labels as they reached the loss, by trajectory, padding removed and packs taken apart."""
    found = []
    for batch in batches:
        for i, (ids, labels) in enumerate(zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)):
            if "attention_mask" in batch:
                n = int(batch["attention_mask"][i].sum())
                assert labels[n:] == [NO_LOSS] * (len(labels) - n)
                found.append((ids[:n], labels[:n]))
            else:
                starts = [k for k, position in enumerate(batch["position_ids"][i].tolist()) if position == 0]
                ends = [*starts[1:], len(ids)]
                found += [(ids[a:b], labels[a:b]) for a, b in zip(starts, ends, strict=True)]
    return found


def expected(row: dict[str, Any], chosen: ExampleSettings) -> tuple[list[int], list[int]] | None:
    """Ids and labels of a row, written down once more and otherwise than in `train.examples`; None: left out."""
    tokenizer = embedded_tokenizer()
    trained = {"model", "hint"} if chosen.hint_loss else {"model"}
    pairs = [(i, NO_LOSS) for i in tokenizer(row["prompt"])["input_ids"]]
    for segment in row["segments"]:
        pairs += [(i, i if segment["origin"] in trained else NO_LOSS) for i in segment["token_ids"]]
    pairs += [(tokenizer.eos_token_id,) * 2] if row["stop_reason"] == "end" else []
    if len(pairs) > chosen.max_length and chosen.long_rows == "drop":
        return None
    kept = pairs[: chosen.max_length]
    return ([i for i, _ in kept], [label for _, label in kept]) if any(label != NO_LOSS for _, label in kept) else None


def check_losses(batches: list[dict[str, Any]]) -> None:
    """Each loss is the sum of plain log-probabilities over exactly the labelled positions, over the step's count."""
    for batch in batches:
        labels = batch["labels"][:, 1:]
        positions = labels != NO_LOSS
        own = batch["log_probs"].gather(-1, labels.clamp(min=0)[..., None])[..., 0][positions]
        assert batch["loss"] == pytest.approx(-float(own.sum()) / batch["n_items"], rel=1e-4)


@pytest.mark.parametrize(
    "assignments",
    [
        (),
        ("examples.hint_loss=false",),
        ("examples.packing=true", "examples.max_length=256"),
        ("examples.packing=true", "examples.max_length=70", "examples.long_rows=cut", "examples.hint_loss=false"),
        ("examples.max_length=70", "examples.long_rows=cut"),
        ("memory.gradient_checkpointing=true", "optimizer.precision=bfloat16"),
    ],
    ids=["plain", "hints masked", "packed", "packed and cut", "cut", "checkpointing in bfloat16"],
)
def test_two_steps_train_on_exactly_the_models_tokens(
    tmp_path: Path, base: Path, seen: list[dict[str, Any]], assignments: tuple[str, ...]
) -> None:
    rows = product_rows(5) + real_rows(3)
    tiny_snapshot(tmp_path, rows)
    settings = ("optimizer.max_steps=2", *assignments)
    if not any(value.startswith("examples.max_length") for value in assignments):
        settings += ("examples.max_length=512",)
    run(tmp_path, base, tmp_path / "out", *settings)
    chosen = recipe(*settings).examples
    wanted = [pair for row in rows if (pair := expected(row, chosen))]
    assert len(wanted) >= 5
    if not chosen.packing:  # packed, a step holds 4 packs, so the rows come round again
        assert len(documents(seen)) == 8
    for document in documents(seen):
        assert document in wanted
    assert all(pair in documents(seen) for pair in wanted)
    if "optimizer.precision=bfloat16" not in assignments:
        check_losses(seen)


@pytest.mark.slow
def test_packed_rows_have_the_loss_of_rows_apart(tmp_path: Path, base: Path, seen: list[dict[str, Any]]) -> None:
    tiny_snapshot(tmp_path, product_rows(8))
    common = ("optimizer.max_steps=1", "optimizer.global_batch=8", "memory.micro_batch=8")
    run(tmp_path, base, tmp_path / "apart", *common)
    run(tmp_path, base, tmp_path / "packed", *common, "examples.packing=true", "examples.max_length=512")
    apart, packed = seen
    assert "position_ids" in packed
    assert packed["n_items"] == apart["n_items"]
    assert packed["loss"] == pytest.approx(apart["loss"], rel=1e-5)


def test_packing_is_refused_where_rows_would_see_each_other(
    tmp_path: Path, home: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import masking_utils

    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda position_ids: None)
    with pytest.raises(TrainingError, match="'sdpa' this model's packed trajectories would see each other"):
        run(home, base, tmp_path / "out", "examples.packing=true")


# What comes out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def assert_same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_folder_is_an_ordinary_model_with_its_story(
    tmp_path: Path, home: Path, base: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoTokenizer

    out = run(home, base, tmp_path / "out", "optimizer.epochs=1")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert not torch.equal(model.model.embed_tokens.weight, weights(base)["model.embed_tokens.weight"])
    assert tokenizer.chat_template == embedded_tokenizer().chat_template
    assert tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(embedded_tokenizer())
    story = json.loads((out / "provenance.json").read_text())
    assert story["snapshot"] == "d_seed@v1"
    assert story["base_model"].startswith("tiny@")
    assert (story["n_steps"], story["examples"]["n_rows"]) == (3, 12)
    assert story["settings"] == recipe("optimizer.epochs=1").model_dump(mode="json")
    card = (out / "README.md").read_text()
    assert story["content_hash"] in card
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "provenance.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    said = capfd.readouterr().err
    assert "12 examples" in said
    assert "3 of 3 steps" in said
    assert "tokens/s, loss " in said
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    run(home, base, out, "optimizer.epochs=1")
    assert "unchanged" in capfd.readouterr().err
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp


def test_the_same_command_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path, home: Path, base: Path
) -> None:
    settings = ("optimizer.max_steps=2", "seed=1"), ("optimizer.max_steps=2", "seed=2")
    first, second = run(home, base, tmp_path / "a", *settings[0]), run(home, base, tmp_path / "b", *settings[0])
    assert_same(first, second)
    third = weights(run(home, base, tmp_path / "c", *settings[1]))
    assert not torch.equal(third["model.embed_tokens.weight"], weights(first)["model.embed_tokens.weight"])


def test_lora_ends_as_an_ordinary_model_with_its_adapter_beside(tmp_path: Path, home: Path, base: Path) -> None:
    out = run(home, base, tmp_path / "out", "method.kind=lora", "optimizer.max_steps=2")
    assert weights(out).keys() == weights(base).keys()
    changed = [name for name, value in weights(out).items() if not torch.equal(value, weights(base)[name])]
    assert changed
    assert all("proj" in name for name in changed)
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    AutoModelForCausalLM.from_pretrained(out)


# Going on


class Killed(BaseException):
    """Stands for a kill: no handler of ours catches it."""


def run_killed_at(where: str, n: int, home: Path, base: Path, out: Path, *assignments: str) -> None:
    """Train, and die at the n-th call of a method of the trainer."""
    method, calls = getattr(Trainer, where), 0

    def deadly(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == n:
            raise Killed
        return method(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, where, deadly)
        with pytest.raises(Killed):
            run(home, base, out, *assignments)


SAVING = ("output.save_every_steps=2", "optimizer.epochs=2", "method.lora_dropout=0.0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, one_thread: None, home: Path, base: Path) -> Path:
    """Six steps in two epochs, never interrupted."""
    return run(home, base, tmp_path_factory.mktemp("whole") / "out", *SAVING)


@pytest.mark.parametrize(
    ("where", "n"),
    [
        pytest.param("training_step", 1, id="at once"),
        pytest.param("training_step", 10, id="in the second epoch", marks=pytest.mark.slow),
        pytest.param("_save_optimizer_and_scheduler", 2, id="while saving", marks=pytest.mark.slow),
        pytest.param("_save_rng_state", 3, id="while saving later", marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_it_goes_on_to_the_same_weights(
    tmp_path: Path, home: Path, base: Path, whole: Path, where: str, n: int
) -> None:
    run_killed_at(where, n, home, base, tmp_path / "killed", *SAVING)
    assert_same(whole, run(home, base, tmp_path / "killed", *SAVING))


def test_a_kill_while_the_model_is_written_costs_no_step(
    tmp_path: Path, home: Path, base: Path, seen: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(sft, "save_model", lambda *arguments: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            run(home, base, out, "optimizer.max_steps=2")
    n_batches = len(seen)
    run(home, base, out, "optimizer.max_steps=2")
    assert len(seen) == n_batches
    assert (out / "provenance.json").is_file()


@pytest.mark.slow
def test_memory_settings_may_change_on_the_way(tmp_path: Path, home: Path, base: Path, whole: Path) -> None:
    run_killed_at("training_step", 10, home, base, tmp_path / "out", *SAVING)  # two micro batches to a step
    out = run(home, base, tmp_path / "out", *SAVING, "memory.micro_batch=1")
    for name, value in weights(whole).items():
        assert torch.allclose(value, weights(out)[name], atol=1e-4), name


def test_another_training_is_refused_in_the_same_folder(tmp_path: Path, home: Path, base: Path) -> None:
    out = tmp_path / "out"
    run_killed_at("training_step", 3, home, base, out, "optimizer.epochs=1")
    with pytest.raises(
        TrainingError, match=r"under way that was started otherwise:\n  optimizer.epochs = 1.0, now 2.0"
    ):
        run(home, base, out, "optimizer.epochs=2")
    with pytest.raises(TrainingError, match=r"model tiny@\w+, now other@"):
        run(home, tiny_model(tmp_path / "other", seed=1), out, "optimizer.epochs=1")
    tiny_snapshot(tmp_path / "home", product_rows(5))
    with pytest.raises(TrainingError, match=r"snapshot d_seed@v1, now d_seed@v1 \(other rows\)"):
        run(tmp_path / "home", base, out, "optimizer.epochs=1")
    run(home, base, out, "optimizer.epochs=1", "output.keep_checkpoints=true")
    assert (out / "checkpoints" / "checkpoint-3" / "complete").is_file()
    with pytest.raises(TrainingError, match="holds a model that was started otherwise"):
        run(home, base, out, "optimizer.epochs=1", "seed=2")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, home: Path, base: Path) -> None:
    copy = shutil.copytree(base, tmp_path / "copy")
    with pytest.raises(TrainingError, match="holds no training of ours"):
        run(home, base, copy)
    assert_same(copy, base)


# Mistakes


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("examples.max_length=16",), "none of the 12 rows of d_seed@v1 can be trained on: too_long 12"),
        (("examples.max_length=16", "examples.long_rows=cut"), "nothing_to_learn 12"),
        (("output.report_to=['nonsense']",), "nonsense is not supported"),
        (("method.kind=lora", "method.lora_targets=['no_such']"), "the training library refuses: .*no_such"),
    ],
)
def test_mistakes_end_in_a_message(
    tmp_path: Path, home: Path, base: Path, assignments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(FactoryError, match=message):
        run(home, base, tmp_path / "out", *assignments)


def test_an_empty_snapshot_and_a_missing_template_are_said(tmp_path: Path, home: Path, base: Path) -> None:
    tiny_snapshot(tmp_path, [])
    with pytest.raises(TrainingError, match="d_seed@v1 is empty"):
        run(tmp_path, base, tmp_path / "out")
    bare = shutil.copytree(base, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(FactoryError, match="has no chat template"):
        run(home, bare, tmp_path / "out")


def test_the_global_batch_must_be_shared_evenly(
    tmp_path: Path, home: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(FactoryError, match="must be a multiple of 6"):
        run(home, base, tmp_path / "out")


def test_out_of_memory_says_what_to_try(
    tmp_path: Path, home: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    step = Trainer.training_step

    def hungry(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > 9:
            torch.empty(1 << 60)  # more than any machine has: the allocator's own error
        return step(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "training_step", hungry)
    with pytest.raises(TrainingError) as caught:
        run(home, base, tmp_path / "out", "output.save_every_steps=2")
    said = str(caught.value)
    assert "out of memory: 2 rows of up to 105 tokens" in said
    assert "memory.micro_batch=1" in said
    assert "memory.gradient_checkpointing=true" in said
    assert "4 steps are saved" in said
