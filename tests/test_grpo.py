"""The problem set, the tool and the reward in TRL's real GRPOTrainer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from factory.problems.generated import generate
from factory.release.problem_set import PROBLEM_SET
from factory.release.row_files import write_rows
from quality.answers import extract_answer
from schemas.recipe import Source
from schemas.vocabulary import SourceKind
from tests.tiny_model import tiny_model
from train.grpo import aclose, python_tool, reward_correct, text_of

CALL = '<tool_call>\n{"name": "python_tool", "arguments": {"code": "print(6 * 7)"}}\n</tool_call><|im_end|>'


@pytest.fixture
async def bench() -> AsyncIterator[None]:
    yield
    await aclose()


def problem_rows(count: int) -> list[dict[str, Any]]:
    source = Source(kind=SourceKind.REASONING_GYM, task="products", count=count, seed=3)
    return [
        {
            "prompt": [{"role": "user", "content": p.statement}], "answer": p.gold_answer, "problem_id": p.problem_id,
            "domain": "math", "source": p.source, "verifier": p.verifier, "meta": p.meta, "pass_rate": 0.5,
            "n_samples": 2, "n_correct": 1, "licence": p.licence,
        }
        for p in generate(source)
    ]  # fmt: skip


# By themselves


@pytest.mark.usefixtures("bench")
async def test_the_tool_says_what_a_block_of_a_trajectory_would_show() -> None:
    shown = await asyncio.gather(*map(python_tool, ["print(6 * 7)", "6 * 7", "x = 1", "print(1)\n1 / 0", "print(x)"]))
    assert shown[:3] == ["42\n", "42\n", ""]
    assert shown[3].startswith("1\n")
    assert "ZeroDivisionError" in shown[3]
    assert "NameError" in shown[4], "nothing is kept from call to call"
    assert len(await python_tool("print('a' * 50_000)")) < 3_000


@pytest.mark.usefixtures("bench")
async def test_the_reward_is_the_problems_own_verifier() -> None:
    (row, *_) = problem_rows(1)
    gold = row["answer"]
    said: list[Any] = [
        [{"role": "assistant", "content": f"It is {gold}."}],
        [{"role": "assistant", "content": "It is -1."}],
        f"\\boxed{{{gold}}}",
        [{"role": "assistant", "content": "", "tool_calls": []}, {"role": "tool", "content": f"{gold}\n"}],
        [{"role": "assistant", "content": "1" * 30_000}],
    ]
    columns = {name: [row[name]] * len(said) for name in ("answer", "verifier", "meta", "pass_rate")}
    assert await reward_correct(said, **columns) == [1.0, 0.0, 1.0, 1.0, 0.0]
    many = {"answer": ["1/2", "####\n1/2"], "verifier": ["math_verify"] * 2, "meta": ["{}"] * 2}
    assert await reward_correct(["It is \\frac{1}{2}.", "It is \\boxed{0.5}."], **many) == [1.0, 1.0]
    unknown = {"answer": ["\\text{}"], "verifier": ["math_verify"], "meta": ["{}"]}
    assert await reward_correct(["\\boxed{x^2}"], **unknown) == [None], "a gold that does not parse"


def test_a_chat_reads_as_a_trajectory_does() -> None:
    chat = [{"role": "assistant", "content": "See."}, {"role": "tool", "content": "7\n"}, {"role": "assistant"}]
    assert text_of(chat) == "See.\n```output\n7\n```\n"
    assert extract_answer(text_of(chat)) == "7"
    assert text_of("as it is") == "as it is"


# In the trainer


def trainer_of(folder: Path, *, length: int) -> Any:
    import trl
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl.chat_template_utils import qwen3_chat_template

    out = folder / "problems.jsonl"
    write_rows(out, problem_rows(2), PROBLEM_SET)
    problems = load_dataset("json", data_files=str(out), cache_dir=str(folder / "cache"), split="train")
    model = tiny_model(folder / "model", qwen3_chat_template)  # the embedded model's own template knows no tools
    args = trl.GRPOConfig(
        output_dir=str(folder / "run"), use_cpu=True, report_to="none", bf16=False, gradient_checkpointing=False,
        per_device_train_batch_size=4, num_generations=2, max_completion_length=length, max_steps=1, disable_tqdm=True,
        logging_steps=1, model_init_kwargs={"dtype": "float32"},    )  # fmt: skip
    return trl.GRPOTrainer(
        str(model),
        reward_funcs=reward_correct,
        tools=[python_tool],
        args=args,
        train_dataset=problems,
        processing_class=AutoTokenizer.from_pretrained(model),
    )


@pytest.mark.slow
def test_a_real_step_of_a_real_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both problems are drawn twice. The random model's turns are replaced, since it would never call a tool: every
    completion calls it, then one of each pair answers rightly. Prompts, tool loop, masks, rewards, loss are TRL's."""
    trainer = trainer_of(tmp_path, length=256)  # tool output counts
    tokenizer = trainer.processing_class
    problems, turns = problem_rows(2), list[list[str]]()

    def single_turn(prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        texts = [tokenizer.decode(ids) for ids in prompt_ids]
        turns.append(texts)
        if len(turns) == 1:
            return [tokenizer(CALL)["input_ids"] for _ in texts], None
        said = []
        for number, text in enumerate(texts):
            gold = next(row["answer"] for row in problems if row["prompt"][0]["content"] in text)
            said.append(f"It is {gold if number % 2 else -1}.<|im_end|>")
        return [tokenizer(text)["input_ids"] for text in said], None

    monkeypatch.setattr(trainer, "_generate_single_turn", single_turn)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert "python_tool" in turns[0][0], "the tool is offered in the prompt"
    assert all("<tool_response>\n42\n" in text for text in turns[1]), turns[1][0]
    (log,) = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert log["rewards/reward_correct/mean"] == 0.5
    assert log["tools/call_frequency"] == 1.0
    assert log["tools/failure_frequency"] == 0.0
    assert log["frac_reward_zero_std"] == 0.0, "right and wrong in every group, so every group teaches"
    assert any((p != q).any() for p, q in zip(trainer.model.parameters(), before, strict=True))


@pytest.mark.slow
def test_a_step_on_what_a_random_model_writes(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, length=16)
    trainer.train()
    (log,) = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert log["rewards/reward_correct/mean"] == 0.0
