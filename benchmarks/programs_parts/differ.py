"""What tells a mutant from its reference: their results on the tests' own inputs, and on variations of these.

Variations keep the types: a number becomes another, an item of a list goes, comes twice or moves. Whether the problem's
text allows them is not known; one on which the reference raises, or does not end in time, says nothing and is left out.
"""

import json
import math
import random
import re
from collections.abc import Sequence
from typing import Any

from quality.programs.guest import CALL, VALUES, solution_side
from quality.programs.outputs import same_output
from quality.programs.values import decode, encode
from schemas.protocols import ExecResult, Limits, Sandbox
from schemas.records import Problem
from schemas.vocabulary import ExecStatus

_LETTERS = "abcXYZ019 "


async def calls_of(program: str, problem: Problem, sandbox: Sandbox, limits: Limits) -> list[str]:
    """The calls that the tests make of the entry point, recorded while they run beside a program."""
    meta, word = json.loads(problem.meta), "-- calls --"
    entry = meta["entry_point"]
    tests = "\n".join(test["code"] for test in json.loads(problem.tests or "[]"))
    values = "import json as _json\n_space = {}\nexec(" + repr(VALUES) + ", _space)\n"
    code = (
        f"{meta.get('prelude', '')}\n{program}\n{values}_real, _calls = {entry}, []\n"
        f"def {entry}(*args, **kwargs):\n"
        f"    try: _calls.append(_json.dumps([{entry!r}, _space['encode']((args, kwargs))]))\n"
        f"    except TypeError: pass\n"
        f"    return _real(*args, **kwargs)\n"
        f"{meta.get('setup', '')}\n{tests}\nprint('{word}' + _json.dumps(_calls))\n"
    )
    result = await sandbox.run(code, limits=limits)
    return list(dict.fromkeys(json.loads(result.stdout.rpartition(word)[2]))) if word in result.stdout else []


async def beside(program: str, problem: Problem, sandbox: Sandbox, limits: Limits) -> bool:
    """Whether a program passes the asserts as their authors run them: in one process, one after the other."""
    meta, word = json.loads(problem.meta), "-- passed --"
    tests = "\n".join(test["code"] for test in json.loads(problem.tests or "[]"))
    code = f"{meta.get('prelude', '')}\n{program}\n{meta.get('setup', '')}\n{tests}\nprint('{word}')"
    result = await sandbox.run(code, limits=limits)
    return result.status is ExecStatus.OK and result.stdout.endswith(f"{word}\n")


async def results(
    program: str, problem: Problem, inputs: Sequence[str], sandbox: Sandbox, limits: Limits
) -> list[str | None]:
    """What a program gives on each input: its output, or its encoded value; None where it fails."""
    meta, is_call = json.loads(problem.meta), "code" in json.loads(problem.tests or "[]")[0]
    code = solution_side(meta.get("prelude", ""), program) if is_call else program

    def good(_: int, result: ExecResult) -> bool:
        return result.status is ExecStatus.OK

    runs = await sandbox.run_tests(code, inputs, accept=good, entry=CALL if is_call else None, limits=limits)
    return [_given(run.result.stdout, is_call) if run.passed else None for run in runs]


def _given(text: str, is_call: bool) -> str | None:
    if not is_call:
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return None


def same(a: str | None, b: str | None, *, is_call: bool) -> bool:
    """Whether two results are one: equal as Python compares values, or token by token."""
    if a is None or b is None or a == b:
        return a == b
    if not is_call:
        return same_output(a, b)
    x, y = decode(a), decode(b)
    if isinstance(x, float) and isinstance(y, float) and math.isnan(x) and math.isnan(y):
        return True
    return bool(x == y)


def variations(inputs: Sequence[str], n: int, rng: random.Random, *, is_call: bool) -> list[str]:
    """Up to `n` further inputs, each unlike all others."""
    found: dict[str, None] = {}
    for _ in range(4 * n):
        text = rng.choice(inputs)
        try:
            made = _varied_call(text, rng) if is_call else _varied_text(text, rng)
        except (TypeError, ValueError, OverflowError):
            continue
        if made not in inputs:
            found[made] = None
        if len(found) == n:
            break
    return list(found)


def _varied_call(text: str, rng: random.Random) -> str:
    name, payload = json.loads(text)
    call: Any = decode(payload)
    args, kwargs = list(call[0]), call[1]
    for _ in range(rng.choice((1, 1, 2, 3)) if args else 0):
        place = rng.randrange(len(args))
        args[place] = _varied(args[place], rng)
    return json.dumps([name, encode((tuple(args), kwargs))])


def _varied(value: Any, rng: random.Random) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return rng.choice([value + 1, value - 1, 2 * value, value + 10, rng.randint(0, 20), rng.randint(0, 200)])
        case float():
            return rng.choice([value + 1, value / 2, value * 2, float(rng.randint(0, 20))])
        case str():
            return _varied_items(list(value), rng, lambda _: rng.choice(value + _LETTERS), "".join)
        case list() | tuple():
            return _varied_items(list(value), rng, lambda item: _varied(item, rng), type(value))
        case set():
            return set(_varied_items(sorted(value, key=repr), rng, lambda item: _varied(item, rng), list))
        case dict():
            items = _varied_items(list(value.items()), rng, lambda item: (item[0], _varied(item[1], rng)), list)
            return dict(items)
    return value


def _varied_items(items: list[Any], rng: random.Random, vary: Any, build: Any) -> Any:
    kind = rng.randrange(6)
    place = rng.randrange(len(items)) if items else 0
    if items and kind <= 2:
        items[place] = vary(items[place])
    elif items and kind == 3:
        del items[place]
    elif items and kind == 4:
        items.insert(rng.randrange(len(items) + 1), items[place])
    else:
        rng.shuffle(items)
    return build(items)


def _varied_text(text: str, rng: random.Random) -> str:
    """Some tokens of a text become others of their kind: numbers of a size like theirs, words of the same letters."""
    parts = re.split(r"(\s+)", text)
    places = [place for place, part in enumerate(parts) if part.strip()]
    for place in rng.sample(places, min(len(places), rng.choice((1, 1, 2, 4)))):
        part = parts[place]
        if re.fullmatch(r"-?\d{1,18}", part):
            value = int(part)
            low = 0 if value >= 0 else 2 * value
            parts[place] = str(rng.choice([value + 1, max(value - 1, low), rng.randint(low, max(2 * abs(value), 3))]))
        else:
            letters = list(part)
            letters[rng.randrange(len(letters))] = rng.choice("".join(parts[p] for p in places))
            parts[place] = "".join(letters)
    return "".join(parts)
