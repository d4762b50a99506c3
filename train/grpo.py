"""What TRL's GRPOTrainer needs beside a problem set (`factory export d_start@latest --format grpo`): tool and reward.

    GRPOTrainer(model, reward_funcs=reward_correct, tools=[python_tool], train_dataset=problems)

Both are coroutines, so the trainer runs the calls of a batch side by side, in its own event loop. Sandbox and checkers
are those of a build, opened at the first call in a loop and ended with its thread (or by `aclose`).

Not the same as in a build: the model calls the tool in its chat template's own way (JSON, not a Markdown fence), and
TRL does not say which completion a call belongs to, so every call begins with a fresh interpreter.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from factory.rollout.outputs import output_block, shown_output
from factory.settings import default_home, load_recipe
from factory.workbench import Workbench
from quality.answers import clean_gold, extract
from schemas.errors import SandboxError
from schemas.vocabulary import ExecStatus, VerifierName

RECIPE = "demo"
"""Whose limits hold: of the sandbox, of the checkers, and of what is shown of an output."""

_benches: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Workbench, asyncio.Lock]] = WeakKeyDictionary()


async def python_tool(code: str) -> str:
    """Run Python code and return what it prints, then the value of a last expression, then the last line of an error.

    Args:
        code: The code. numpy and sympy can be imported; there is no network, and nothing is kept from one call to the
            next.
    """
    bench, lock = _bench()
    async with lock:  # two first calls would open two
        sandbox = await bench.sandbox()
    session = await sandbox.session()
    try:
        result = await session.run(code)
    finally:
        await session.aclose()
    if result.status is ExecStatus.LOST:
        raise SandboxError(f"the sandbox lost an execution: {result.stderr[:200]}")
    return shown_output(result, bench.recipe.sandbox.shown_chars)[0]


async def reward_correct(
    completions: Sequence[str | Sequence[Mapping[str, Any]]],
    answer: Sequence[str | None],
    verifier: Sequence[str],
    meta: Sequence[str],
    **_: object,
) -> list[float | None]:
    """1.0 where the problem's own verifier accepts the final answer, 0.0 where not, None where it could not tell.

    Args:
        completions: Of the trainer: texts, or lists of messages.
        answer: Golds, one per completion: the problem set's columns, as the trainer repeats them.
        verifier: Who judges, likewise.
        meta: What the verifier needs, likewise.
        **_: The other columns and whatever else the trainer passes.

    Raises:
        SandboxError: no checker can be started.
    """
    bench, lock = _bench()
    async with lock:
        checkers = await bench.checkers()

    async def judge(completion: Any, gold: str | None, name: str, needs: str) -> float | None:
        found = extract(text_of(completion)).answer
        check = await checkers.check(VerifierName(name), None if gold is None else clean_gold(gold), found, needs)
        return None if check.is_correct is None else float(check.is_correct)

    return list(await asyncio.gather(*map(judge, completions, answer, verifier, meta)))


def text_of(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """A completion as one text in which the rules for final answers know tool output when they see it."""
    if isinstance(completion, str):
        return completion
    parts = []
    for message in completion:
        content = str(message.get("content") or "")
        parts.append("\n" + output_block(content) if message["role"] == "tool" else content)
    return "".join(parts)


async def aclose() -> None:
    """End the sandbox and the checkers of the running loop, if there are any."""
    if found := _benches.pop(asyncio.get_running_loop(), None):
        await found[0].__aexit__(None, None, None)


def _bench() -> tuple[Workbench, asyncio.Lock]:
    loop = asyncio.get_running_loop()
    if loop not in _benches:
        _benches[loop] = Workbench(load_recipe(RECIPE, {}), default_home(), trust=False), asyncio.Lock()
    return _benches[loop]
