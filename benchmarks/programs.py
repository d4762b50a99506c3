"""Verdicts on programs: references must pass, spoilt ones must fail, and whatever passes is looked into.

    python benchmarks/programs.py [--mutants 1] [--limit N] [--data ../shared/data] [--list 40] [--check]

First all references of HumanEval, MBPP and TACO, timed, with the limits of a build. Then mutants of each (see
`programs_parts.mutate`), and programs that give the expected result of another test, under short limits that suit each
reference. Every mutant is judged as a build would. Asserts are also run as their authors run them, beside the program:
where the two verdicts differ, it is said.

A mutant that passes is compared with its reference on the tests' own inputs and on variations of them:

    equivalent   no difference on any input that the reference has a result for
    tolerated    another result on a test's own input, and the test takes it (as it does beside the program)
    not caught   another result on another input: the problem's tests are too few to tell

`undecided` and `timeout` count neither way. Bars: all references pass, in under 60 s together; of the mutants that
behave differently on a test's own input, 0.98 fail.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a script

from benchmarks.programs_parts.differ import beside, calls_of, results, same, variations
from benchmarks.programs_parts.mutate import OPERATORS, Mutant, mutants
from benchmarks.programs_parts.sets import SETS, load
from factory.sandbox.pool import open_sandbox
from quality.programs.judge import CodeCheck, judge_program
from quality.programs.values import decode
from schemas.protocols import Limits, Sandbox
from schemas.recipe import Judge
from schemas.records import Problem
from schemas.vocabulary import Judgement

MOST_REFERENCE_S = 60.0
LEAST_FAILED = 0.98
AT_ONCE = 8
OTHER_TEST = "other test"
N_VARIATIONS = 60
SHORT_S, LONG_S = 0.2, 8.0
"""CPU seconds of a mutant: the first under which its reference passes."""


@dataclass
class Tried:
    """One mutant and what became of it."""

    problem: str
    mutant: Mutant
    check: CodeCheck
    is_beside: bool | None = None
    """Whether it passes beside its tests; None where that was not tried."""
    fate: str = ""
    """failed, undecided, equivalent, tolerated, not caught."""
    evidence: str = ""


async def each(items: Iterable[Any], do: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    """Some at a time, in order."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> Any:
        async with at_once:
            return await do(item)

    return list(await asyncio.gather(*map(one, items)))


async def references(problems: dict[str, Problem], sandbox: Sandbox) -> tuple[dict[str, Problem], list[str], float]:
    """The problems whose reference passes, a line per one that does not, and the seconds for all."""

    async def one(item: tuple[str, Problem]) -> tuple[str, CodeCheck]:
        return item[0], await judge_program(item[1].gold_answer or "", item[1], sandbox)

    started = time.perf_counter()
    checked = await each(problems.items(), one)
    total = time.perf_counter() - started
    broken = [f"{name}: {check.verdict}, {check.detail}" for name, check in checked if not check.is_correct]
    return {name: problems[name] for name, check in checked if check.is_correct}, broken, total


class Study:
    """Mutants of the problems of one set."""

    def __init__(self, problems: dict[str, Problem], sandbox: Sandbox, n: int) -> None:
        self._problems = problems
        self._limits: dict[str, Limits] = {}
        self._sandbox = sandbox
        self._n = n

    async def run(self) -> list[Tried]:
        """All mutants, judged and looked into."""
        await each(list(self._problems), self._choose_limit)
        made = [item for items in await each(self._problems, self._mutants) for item in items]
        tried: list[Tried] = await each(made, self._try)
        survivors: dict[str, list[Tried]] = {}
        for t in tried:
            if t.check.verdict is Judgement.CORRECT:
                survivors.setdefault(t.problem, []).append(t)
        await each(survivors.items(), self._look_into)
        return tried

    async def _choose_limit(self, name: str) -> None:
        """A loop must not cost seconds, and a slow reference must still pass."""
        for cpu_s in (SHORT_S, LONG_S):
            self._limits[name] = Limits(20.0, cpu_s, 512, 8 << 20)
            quick = _with_limit(self._problems[name], cpu_s)
            check = await judge_program(quick.gold_answer or "", quick, self._sandbox, Judge(time_factor=1.0))
            if check.is_correct:
                break
        self._problems[name] = quick

    async def _mutants(self, name: str) -> list[tuple[str, Mutant]]:
        problem, rng = self._problems[name], random.Random(name)
        found = [m for op in OPERATORS for m in mutants(problem.gold_answer or "", op, self._n, rng)]
        return [(name, mutant) for mutant in [*found, *(await self._of_other_tests(name, problem, rng))]]

    async def _of_other_tests(self, name: str, problem: Problem, rng: random.Random) -> list[Mutant]:
        """Programs that give the result of another test, where tests have different ones."""
        tests, is_call = json.loads(problem.tests or "[]"), _is_call(problem)
        if is_call:
            calls = await calls_of(problem.gold_answer or "", problem, self._sandbox, self._limits[name])
            given = await results(problem.gold_answer or "", problem, calls, self._sandbox, self._limits[name])
            texts = [text for text in given if text is not None]
        else:
            texts = [test["output"] for test in tests]
        different = list(dict.fromkeys(texts))
        if all(same(different[0], text, is_call=is_call) for text in different) if different else True:
            return []
        made = []
        for text in rng.sample(different, min(self._n, len(different))):
            if is_call:
                body = f"def {json.loads(problem.meta)['entry_point']}(*args, **kwargs):\n    return {decode(text)!r}\n"
                if "iterator" in text or "inf" in text or "nan" in text:
                    continue
            else:
                body = f"print({text!r})\n"
            made.append(Mutant(OTHER_TEST, f"always {text[:60]!r}", body))
        return made

    async def _try(self, item: tuple[str, Mutant]) -> Tried:
        name, mutant = item
        problem = self._problems[name]
        check = await judge_program(f"```python\n{mutant.code}\n```", problem, self._sandbox, Judge(time_factor=1.0))
        tried = Tried(name, mutant, check)
        if _is_call(problem) and mutant.operator != "loop":
            tried.is_beside = await beside(mutant.code, problem, self._sandbox, self._limits[name])
        if check.verdict is Judgement.WRONG:
            tried.fate = "failed"
        elif check.verdict is not Judgement.CORRECT:
            tried.fate, tried.evidence = "undecided", check.detail
        return tried

    async def _look_into(self, item: tuple[str, Sequence[Tried]]) -> None:
        (name, survivors), problem = item, self._problems[item[0]]
        is_call, limits, rng = _is_call(problem), self._limits[name], random.Random(name)
        gold = problem.gold_answer or ""
        if is_call:
            own = await calls_of(gold, problem, self._sandbox, limits)
        else:
            own = [test["input"] for test in json.loads(problem.tests or "[]")]
        more = variations(own, N_VARIATIONS, rng, is_call=is_call) if own else []
        wanted = await results(gold, problem, [*own, *more], self._sandbox, limits)
        n_compared = sum(text is not None for text in wanted)
        for tried in survivors:
            given = await results(tried.mutant.code, problem, [*own, *more], self._sandbox, limits)
            tried.fate, tried.evidence = "equivalent", f"on {n_compared} inputs"
            for index, (text, expected, got) in enumerate(zip([*own, *more], wanted, given, strict=True)):
                if expected is not None and not same(got, expected, is_call=is_call):
                    tried.fate = "tolerated" if index < len(own) else "not caught"
                    tried.evidence = f"{_short(text)} gives {_short(str(got))} instead of {_short(expected)}"
                    break


def _short(text: str) -> str:
    return repr(text if len(text) <= 70 else text[:70] + "...")


def _is_call(problem: Problem) -> bool:
    return "code" in json.loads(problem.tests or "[]")[0]


def _with_limit(problem: Problem, cpu_s: float) -> Problem:
    meta = json.loads(problem.meta) | {"time_limit_s": cpu_s}
    return problem.model_copy(update={"meta": json.dumps(meta)})


def table(name: str, tried: Sequence[Tried]) -> tuple[int, int]:
    """Print a set's table. Returns how many behave differently on a test's input, and how many of those fail."""
    fates = ("failed", "undecided", "equivalent", "tolerated", "not caught")
    print(f"\n{name:<12}{'mutants':>9}" + "".join(f"{fate:>12}" for fate in fates) + f"{'on tests':>10}{'of all':>9}")
    for operator in (*OPERATORS, OTHER_TEST, "all"):
        mine = [t for t in tried if operator in (t.mutant.operator, "all")]
        n = Counter(t.fate for t in mine)
        judged = n["failed"] + n["tolerated"]
        different = judged + n["not caught"]
        shares = [n["failed"] / of if of else float("nan") for of in (judged, different)]
        print(
            f"{operator:<12}{len(mine):>9,}" + "".join(f"{n[fate]:>12,}" for fate in fates)
            + f"{shares[0]:>10.4f}{shares[1]:>9.4f}"
        )  # fmt: skip
    return judged, n["failed"]


def lines(tried: Sequence[Tried], fate: str, at_most: int) -> None:
    """Print the mutants of one fate."""
    chosen = [t for t in tried if t.fate == fate]
    if chosen:
        print(f"\n{len(chosen):,} {fate}" + (f", the first {at_most}" if len(chosen) > at_most else "") + ":")
    for t in chosen[:at_most]:
        print(f"  {t.problem} | {t.mutant.operator} | {t.mutant.what[:80]} | {t.evidence}")


async def study(options: argparse.Namespace) -> bool:
    """Everything; whether all bars are met."""
    sandbox = await open_sandbox(n_slots=2, limits=Limits(wall_s=20.0, cpu_s=8.0))
    seconds, is_good, n_judged, n_failed = 0.0, True, 0, 0
    try:
        problems = {name: load(name, options.data, options.limit) for name in options.sets}
        sound = {}
        for name in options.sets:
            sound[name], broken, s = await references(problems[name], sandbox)
            seconds += s
            is_good &= not broken
            print(
                f"{name}: {len(sound[name])} of {len(problems[name])} references pass, {s:.1f} s", *broken, sep="\n  "
            )
        print(f"together {seconds:.1f} s (bar {MOST_REFERENCE_S:g})", flush=True)
        is_good &= seconds < MOST_REFERENCE_S
        for name in options.sets if options.mutants else ():
            started = time.perf_counter()
            tried = await Study(sound[name], sandbox, options.mutants).run()
            judged, failed = table(name, tried)
            n_judged, n_failed = n_judged + judged, n_failed + failed
            print(f"{time.perf_counter() - started:.0f} s")
            apart = [t for t in tried if t.is_beside is not None and t.is_beside is not t.check.is_correct]
            print(f"{len(apart)} verdicts are not those of the tests beside the program" + (":" if apart else ""))
            for t in apart[: options.list]:
                print(f"  {t.problem} | {t.mutant.what} | beside {t.is_beside} | {t.check.verdict}: {t.check.detail}")
            for fate in ("undecided", "tolerated", "not caught"):
                lines(tried, fate, options.list)
            sys.stdout.flush()
        if n_judged:
            share = n_failed / n_judged
            print(
                f"\n{n_failed:,} of {n_judged:,} that differ on a test's own input fail: {share:.4f} ({LEAST_FAILED})"
            )
            is_good &= share >= LEAST_FAILED
    finally:
        await sandbox.aclose()
    return is_good


def main() -> None:
    """Run, and exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1, help="of each operator and problem; 0: references alone")
    parser.add_argument("--limit", type=int, help="problems of each set")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--list", type=int, default=40, help="lines of each kind")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"no data in {options.data}: name the folder with --data")
    if not asyncio.run(study(options)) and options.check:
        sys.exit(1)


if __name__ == "__main__":
    main()
