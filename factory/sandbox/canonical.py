"""One text per value: how the result of a call leaves the sandbox, and how an expected value is written to compare.

The comparison is of texts and happens outside, so an object of the guest with an `__eq__` of its own gains nothing.
"""

import json
import math


def canonical_json(value: object) -> str:
    """The value as JSON, written in one way only.

    Tuples are arrays, sets are arrays in the order of their members' texts, keys are strings in order, numbers of numpy
    are numbers, a float without a fraction stays a float (`1.0`), and NaN equals itself.

    Raises:
        TypeError: something in it has no JSON form.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return math.nan if math.isnan(value) else float(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=canonical_json)
    if isinstance(value, dict):
        return {key if isinstance(key, str) else canonical_json(key): _plain(item) for key, item in value.items()}
    for method in ("tolist", "item"):  # arrays and numbers of numpy
        if hasattr(value, method):
            return _plain(getattr(value, method)())
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")
