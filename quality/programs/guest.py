"""The two programs that judge asserts run inside the sandbox, as text: one around the solution, one around the tests.

The solution's side has the program and answers calls; it never sees a test. The tests' side has the tests and, in the
place of the function, a memory of what the solution's side answered; no line of the solution is in it. Only values go
between them (`quality.programs.values`), through the judge.
"""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

from quality.programs.values import encode

CALL = "__judge_call"
VALUES = (Path(__file__).parent / "values.py").read_text(encoding="utf-8")
"""The source of `values`, which both programs bring along."""
_MODULES = frozenset(
    (
        "math", "cmath", "re", "sys", "collections", "itertools", "functools", "heapq", "bisect", "operator", "random",
        "datetime", "string", "json", "copy", "decimal", "fractions", "statistics",
    )
)  # fmt: skip
_REPEATED = (
    ast.For, ast.While, ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
_FROM = {
    "Counter": "collections", "OrderedDict": "collections", "defaultdict": "collections", "deque": "collections",
    "namedtuple": "collections", "Fraction": "fractions", "Decimal": "decimal", "isclose": "math", "sqrt": "math",
    "List": "typing", "Tuple": "typing", "Dict": "typing", "Any": "typing", "Optional": "typing",
}  # fmt: skip

_SOLUTION = """
{program}

def {call}(name, payload, _space={{}}):
    if not _space:
        exec({values!r}, _space)
    args, kwargs = _space["decode"](payload)
    head, _, method = name.partition(".")
    function = globals()[head]
    if method:
        function = getattr(function(), method)
    return _space["encode"](function(*args, **kwargs))
"""

_TESTS = """
def __judge(tests, memory, entries, is_rehearsal, word):
    import json, random, sys
    space = {{}}
    exec({values!r}, space)
    wanted, calls, opaque = [], [], []

    class Unknown(BaseException):
        pass

    def stand_in(name):
        def function(*args, **kwargs):
            try:
                key = json.dumps([name, space["encode"]((args, kwargs))])
            except space["Opaque"]:
                opaque.append(name)
                raise
            calls.append(key)
            if key not in memory:
                wanted.append(key)
                if is_rehearsal:
                    return None
                raise Unknown
            answer = memory[key]
            if answer is None:
                raise RuntimeError("the call gave nothing that can be compared")
            return space["decode"](answer)
        return function

    scope = {{"__name__": "tests"}}
    exec({prelude!r}, scope)
    scope.update((name, stand_in(name)) for name in entries)
    outcomes = []
    for test in tests:
        random.seed(0)
        del calls[:]
        try:
            exec(test, scope)
            outcomes.append([None, calls[-1] if calls else None])
        except Unknown:
            outcomes.append(["unknown", None])
            break
        except (Exception, SystemExit) as error:
            if is_rehearsal:
                outcomes.append([None, None])
                continue
            said = type(error).__name__ + (": " + str(error)[:200] if str(error) else "")
            outcomes.append([said, calls[-1] if calls else None])
            break
    sys.stdout.write("\\n" + json.dumps([word, wanted, outcomes, bool(opaque)]) + "\\n")

__judge(*{arguments})
"""


def solution_side(prelude: str, program: str) -> str:
    """The program, and a function behind it that answers calls."""
    return _SOLUTION.format(program=f"{prelude}\n{program}", call=CALL, values=VALUES)


def tests_side(
    prelude: str, tests: Sequence[str], entries: Sequence[str], memory: Mapping[str, str | None], word: str
) -> str:
    """The tests, with remembered answers in the place of the functions."""
    return _tests(prelude, tests, entries, memory, word, is_rehearsal=False)


def rehearsal(prelude: str, tests: Sequence[str], entries: Sequence[str], word: str) -> str:
    """The tests with asserts that cannot fail, to learn which calls they make."""
    calm = [ast.unparse(ast.fix_missing_locations(_Calm().visit(ast.parse(test)))) for test in tests]
    return _tests(prelude, calm, entries, {}, word, is_rehearsal=True)


def _tests(
    prelude: str,
    tests: Sequence[str],
    entries: Sequence[str],
    memory: Mapping[str, str | None],
    word: str,
    *,
    is_rehearsal: bool,
) -> str:
    arguments = (list(tests), dict(memory), list(entries), is_rehearsal, word)
    return _TESTS.format(values=VALUES, prelude=prelude, arguments=arguments)


class _Calm(ast.NodeTransformer):
    """`assert x` becomes `try: x` `except Exception: pass`."""

    def visit_Assert(self, node: ast.Assert) -> ast.Try:
        handler = ast.ExceptHandler(type=ast.Name("Exception", ast.Load()), name=None, body=[ast.Pass()])
        return ast.Try(body=[ast.Expr(node.test)], handlers=[handler], orelse=[], finalbody=[])


def literal_calls(tests: Sequence[str], entries: Sequence[str]) -> list[tuple[str, str]] | None:
    """Name and encoded arguments of every call with literal arguments; None where a test may make others, too."""
    found: dict[tuple[str, str], None] = {}
    for test in tests:
        tree = ast.parse(test)
        nodes = list(ast.walk(tree))
        if any(isinstance(node, _REPEATED) for node in nodes):
            return None
        n_named = sum(isinstance(node, ast.Name) and node.id in entries for node in nodes)
        n_called = 0
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in entries:
                try:
                    args = tuple(ast.literal_eval(arg) for arg in node.args)
                    kwargs = {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
                    found[node.func.id, encode((args, kwargs))] = None
                    n_called += 1
                except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                    return None
        if n_called != n_named:
            return None
    return list(found)


def imports_for(tests: Sequence[str], known: frozenset[str]) -> tuple[str, frozenset[str]]:
    """Imports that the tests take for granted, and the names that only the solution can have defined."""
    loaded, stored = set[str](), set[str]()
    for test in tests:
        for node in ast.walk(ast.parse(test)):
            if isinstance(node, ast.Name):
                (loaded if isinstance(node.ctx, ast.Load) else stored).add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                stored.add(node.name)
            elif isinstance(node, ast.arg):
                stored.add(node.arg)
            elif isinstance(node, ast.alias):
                stored.add((node.asname or node.name).partition(".")[0])
            elif isinstance(node, ast.ExceptHandler) and node.name:
                stored.add(node.name)
    import builtins

    missing = loaded - stored - known - set(dir(builtins))
    lines = [f"import {name}" for name in sorted(missing & _MODULES)]
    lines += [f"from {_FROM[name]} import {name}" for name in sorted(missing & _FROM.keys())]
    return "\n".join(lines), frozenset(missing - _MODULES - _FROM.keys())
