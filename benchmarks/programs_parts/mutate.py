"""Right programs made wrong, one change each, by their syntax trees.

    constant   another number, text or truth value
    off_by_one a bound of `range`, an index or a comparison, one further or one less
    operator   another arithmetic, comparison or logical operator
    loop       `while True: pass` in front of a block, or a `while` whose condition is always true

A mutant may well behave as the original does, on all inputs or on those of the tests.
"""

import ast
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

Change = tuple[str, Callable[[], object]]

_ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub, ast.Mult), ast.Sub: (ast.Add,), ast.Mult: (ast.Add, ast.Sub), ast.Div: (ast.Mult, ast.FloorDiv),
    ast.FloorDiv: (ast.Mult, ast.Mod), ast.Mod: (ast.FloorDiv, ast.Mult), ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,), ast.BitXor: (ast.BitAnd,), ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}  # fmt: skip
_COMPARISON: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_NEXT: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}

_NOTHING: Any = object()


@dataclass(frozen=True)
class Mutant:
    """A spoilt program."""

    operator: str
    what: str
    """The line and what was changed there."""
    code: str


def mutants(code: str, operator: str, n: int, rng: random.Random) -> list[Mutant]:
    """Up to `n` different mutants.

    Args:
        code: That parses.
        operator: One of `OPERATORS`.
        n: At most.
        rng: Draws the places.
    """
    n_places = sum(1 for _ in _CHANGES[operator](ast.parse(code), random.Random(0)))
    plain, found = ast.unparse(ast.parse(code)), dict[str, Mutant]()
    for place in rng.sample(range(n_places), n_places):
        tree = ast.parse(code)
        what, change = list(_CHANGES[operator](tree, random.Random(rng.random())))[place]
        change()
        made = ast.unparse(ast.fix_missing_locations(tree))
        if made != plain:
            found.setdefault(made, Mutant(operator, what, made))
        if len(found) == n:
            break
    return list(found.values())


def _set(node: ast.AST, name: str, value: object) -> Callable[[], object]:
    return partial(setattr, node, name, value)


def _constants(tree: ast.Module, rng: random.Random) -> Iterator[Change]:
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in texts:
            continue
        old, new = node.value, _NOTHING
        if isinstance(old, bool):
            new = not old
        elif isinstance(old, int):
            new = rng.choice([old + 1, old - 1, old + 7, 2 * old + 3])
        elif isinstance(old, float):
            new = rng.choice([old + 1, old * 2 + 0.5])
        elif isinstance(old, str):
            new = rng.choice([old + "x", old[1:]]) if old else "x"
        if new is not _NOTHING:
            yield f"line {node.lineno}: {old!r} -> {new!r}", _set(node, "value", new)


def _bounds(tree: ast.Module, rng: random.Random) -> Iterator[Change]:
    def shifted(node: ast.expr, where: str) -> tuple[str, ast.expr]:
        sign, op = rng.choice((("+", ast.Add()), ("-", ast.Sub())))
        made = ast.BinOp(left=node, op=op, right=ast.Constant(1))
        return f"line {node.lineno}: {where} {ast.unparse(node)} {sign} 1", made

    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="range"), args=args) if args and not isinstance(args[0], ast.Starred):
                index = min(len(args) - 1, 1)
                what, made = shifted(args[index], "range to")
                yield what, partial(args.__setitem__, index, made)
            case ast.Subscript(slice=ast.Slice() as part):
                for name in ("lower", "upper"):
                    if (bound := getattr(part, name)) is not None:
                        what, made = shifted(bound, "slice")
                        yield what, _set(part, name, made)
            case ast.Subscript(slice=index, ctx=ast.Load()) if _is_number(index):
                what, made = shifted(index, "index")
                yield what, _set(node, "slice", made)
            case ast.Compare(ops=ops):
                for place, op in enumerate(ops):
                    if type(op) in _NEXT:
                        new = _NEXT[type(op)]()
                        what = f"line {node.lineno}: {type(op).__name__} -> {type(new).__name__}"
                        yield what, partial(ops.__setitem__, place, new)


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.BinOp) or (isinstance(node, ast.Constant) and isinstance(node.value, int))


def _operators(tree: ast.Module, rng: random.Random) -> Iterator[Change]:
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _ARITHMETIC:
                new: ast.AST = rng.choice(_ARITHMETIC[type(op)])()
                yield f"line {node.lineno}: {type(op).__name__} -> {type(new).__name__}", _set(node, "op", new)
            case ast.BoolOp(op=op):
                new = ast.Or() if isinstance(op, ast.And) else ast.And()
                yield f"line {node.lineno}: {type(op).__name__} -> {type(new).__name__}", _set(node, "op", new)
            case ast.Compare(ops=[op, *_]) if type(op) in _COMPARISON:
                other = _COMPARISON[type(op)]()
                what = f"line {node.lineno}: {type(op).__name__} -> {type(other).__name__}"
                yield what, partial(node.ops.__setitem__, 0, other)


def _loops(tree: ast.Module, rng: random.Random) -> Iterator[Change]:
    for node in ast.walk(tree):
        if isinstance(node, ast.While):
            yield f"line {node.lineno}: while True", _set(node, "test", ast.Constant(True))
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and not isinstance(node, ast.ClassDef):
            endless = ast.While(test=ast.Constant(True), body=[ast.Pass()], orelse=[])
            line = body[0].lineno
            yield f"line {line}: while True: pass", partial(body.insert, 0, endless)


_CHANGES = {"constant": _constants, "off_by_one": _bounds, "operator": _operators, "loop": _loops}
OPERATORS = tuple(_CHANGES)
