"""Values as JSON that keeps their types, so that a call's arguments and result can cross from process to process.

Plain data only: None, booleans, numbers, text, bytes, lists, tuples, sets, dictionaries, ranges, and what is iterated
over (a generator, `map`, `dict.keys()`), which arrives as an iterator. Subclasses arrive as what they are derived from.
Anything else, such as an object with an `__eq__` of its own, is `Opaque`: it does not leave its process.

This file is also sent into the sandbox as text: it needs the standard library alone.
"""

import collections
import json
from typing import Any

MAX_ITEMS = 200_000
MAX_DEPTH = 200


class Opaque(TypeError):
    """A value that is no plain data."""


def encode(value: object) -> str:
    """One text per value.

    Raises:
        Opaque: something in it is no plain data, or there is too much of it.
    """
    return json.dumps(_packed(value, [MAX_ITEMS], 0), sort_keys=True)


def decode(text: str) -> object:
    """The value of a text that `encode` wrote.

    Raises:
        ValueError: another text.
    """
    return _unpacked(json.loads(text))


def _packed(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth > MAX_DEPTH:
        raise Opaque("too large")
    if value is None or value is True or value is False:
        return value
    for kinds, pack in _KINDS:
        if isinstance(value, kinds):
            return pack(value, lambda things: [_packed(thing, left, depth + 1) for thing in things])
    module, name = type(value).__module__, type(value).__name__
    if module == "collections" and name == "deque":
        return {"deque": [_packed(thing, left, depth + 1) for thing in value]}
    if module == "builtins" and hasattr(value, "__iter__"):
        return {"iterator": [_packed(thing, left, depth + 1) for thing in value]}
    if module == "numpy" and hasattr(value, "tolist"):
        return _packed(value.tolist(), left, depth + 1)
    raise Opaque("a value of type " + name)


_KINDS: Any = (
    (int, lambda value, _: int(value) if -(2**53) < value < 2**53 else {"int": hex(int(value))}),
    (str, lambda value, _: str.__str__(value)),
    (float, lambda value, _: {"float": float.__repr__(value)}),
    (complex, lambda value, _: {"complex": [float.__repr__(value.real), float.__repr__(value.imag)]}),
    ((bytes, bytearray), lambda value, _: {"bytes": bytes(value).hex()}),
    (range, lambda value, _: {"range": [value.start, value.stop, value.step]}),
    (list, lambda value, items: items(list.__iter__(value))),
    (tuple, lambda value, items: {"tuple": items(tuple.__iter__(value))}),
    ((set, frozenset), lambda value, items: {"set": sorted(items(value), key=json.dumps)}),
    (dict, lambda value, items: {"dict": items(tuple(dict.items(value)))}),
)
"""Subclasses are read with the methods of the plain type, whatever they say of themselves."""


def _unpacked(packed: Any) -> Any:
    if isinstance(packed, list):
        return [_unpacked(item) for item in packed]
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind in _SCALARS:
        return _SCALARS[kind](content)
    return _COLLECTIONS[kind](_unpacked(item) for item in content)


_SCALARS: Any = {
    "int": lambda text: int(text, 16),
    "float": float,
    "complex": lambda parts: complex(float(parts[0]), float(parts[1])),
    "bytes": bytes.fromhex,
    "range": lambda ends: range(*ends),
}
_COLLECTIONS: Any = {
    "tuple": tuple,
    "set": set,
    "dict": dict,
    "deque": collections.deque,
    "iterator": lambda items: iter(list(items)),
}
