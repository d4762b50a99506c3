"""Examples of every class, and of what is none: `tests/test_replay.py` runs them in the sandbox.

`record` is what stands in the row; null: what the code gives in a first run of its own, as a row of ours is made.
"""

from dataclasses import dataclass

from schemas.vocabulary import OutputDifference

_TIME, _RANDOM, _HASH, _ENVIRONMENT, _REAL = OutputDifference


@dataclass(frozen=True)
class Example:
    """The last of the blocks is the one in question."""

    blocks: tuple[str, ...]
    record: str | None
    kind: OutputDifference | None
    """Null: it came out again."""
    is_foreign: bool = False


def _ours(code: str, record: str | None, kind: OutputDifference | None, *before: str) -> Example:
    return Example((*before, code), record, kind)


def _theirs(code: str, record: str, kind: OutputDifference | None, *before: str) -> Example:
    return Example((*before, code), record, kind, is_foreign=True)


SAME = (
    _ours("print(6 * 7)", "42\n", None),
    _ours("import random\nprint(random.random())", None, None),
    _ours("import numpy as np\nprint(np.random.rand(3))", None, None),
    _ours("print(sorted({'a', 'b'}), hash('a'))", None, None),
    _ours("print({'a', 'b', 'c', 'd'})", None, None),
    _ours("1 / 0", None, None),
    _ours("print(x)", "5\n", None, "x = 5"),
    _theirs("print('a  \\nb')", "\na\nb\n\n", None),
    _theirs("print(list(range(100)))", "[0, 1, 2, 3, 4, 5, 6, 7, 8...", None),
    _theirs(
        "1 / 0", 'Traceback (most recent call last):\n  File "x.py", line 9\nZeroDivisionError: division by zero', None
    ),
    _theirs("print(1)\n1 / 0", "1\nZeroDivisionError: division by zero", None),
)
TIME = (
    _ours("import time\nprint(time.time_ns())", "1700000000000000000\n", _TIME),
    _ours("from datetime import date as d\nprint('Today is', d.today())", "Today is 2023-05-01\n", _TIME),
    _ours("print(f'took {t() - a} s')", "took 0.0312 s\n", _TIME, "from time import perf_counter as t\na = t()"),
    _theirs("import datetime\nprint(datetime.datetime.now().year - 1990)", "33", _TIME),
    # not: what the clock does not touch
    _ours("import time\nprint(time.time_ns(), 6 * 7)", "1700000000000000000 43\n", _REAL),
    _ours("from datetime import date\nprint('Today is', date.today(), 6 * 7)", "Today is 2023-05-01 43\n", _REAL),
    _ours("import time\na = time.time()\nprint(6 * 7)", "43\n", _REAL),
)
RANDOMNESS = (
    _ours("import secrets\nprint(secrets.randbelow(10**9))", "123456789\n", _RANDOM),
    _ours("import numpy as np\nprint(np.random.default_rng().random())", "0.123456789\n", _RANDOM),
    _ours("print(y)", "0.123\n", _RANDOM, "import random\nrandom.seed()\ny = random.random()"),
    _ours("import uuid\nprint(uuid.uuid4())", "0f8fad5b-d9cb-469f-a165-70867728950e\n", _RANDOM),
    _theirs("import random\nprint(random.randint(1, 10**6))", "123456", _RANDOM),
    _theirs("import numpy as np\nprint(np.random.rand())", "0.1234", _RANDOM),
    # not: seeds that the code sets or that we know, and what they do not touch
    _ours("import random\nprint(random.randint(1, 10**6))", "123456\n", _REAL),
    _theirs("import random\nrandom.seed(3)\nprint(random.randint(1, 10**6))", "123456", _REAL),
    _theirs("import random\nprint(random.random() < 2, 6 * 7)", "True 43", _REAL),
    _ours("import secrets\nprint(secrets.randbelow(10**9), 6 * 7)", "123456789 43\n", _REAL),
)
HASH_ORDER = (
    _ours("print({'ab', 'cd', 'ef', 'gh', 'ij'})", "{'ab', 'cd', 'ef', 'gh', 'ij'}\n", _HASH),
    _ours("print(hash('a text'))", "123456789\n", _HASH),
    _theirs("for c in set('hello world'):\n    print(c)", "h\ne\nl\no\n \nw\nr\nd", _HASH),
    # not: sets of small numbers, which have one order, and another member
    _ours("print({3, 1, 2})", "{3, 2, 1}\n", _REAL),
    _ours("print({'ab', 'cd', 'ef', 'gh', 'ij'})", "{'ab', 'cd', 'ef', 'gh', 'xy'}\n", _REAL),
    _ours("print(sorted({'ab', 'cd'}))", "['cd', 'ab']\n", _REAL),
)
ENVIRONMENT = (
    _ours("import numpy as np\nnp.float64(3.5)", "3.5\n", _ENVIRONMENT),
    _ours("print(0.1 + 0.2)", "0.30000000000000001\n", _ENVIRONMENT),
    _ours("import no_such_module\nprint(5)", "5\n", _ENVIRONMENT),
    _ours("print(open('data.csv').read())", "a,b\n", _ENVIRONMENT),
    _ours("print(object())", "<object object at 0x7f0000000000>\n", _ENVIRONMENT),
    _ours("while True: pass", "5\n", _ENVIRONMENT),
    _theirs("print(x)", "5", _ENVIRONMENT, "import no_such_module\nx = 5"),
    _theirs("x = 5\nx", "", _ENVIRONMENT),
    _theirs("[].first", "AttributeError: list has no attribute first", _ENVIRONMENT),
    _theirs("from sympy import symbols\nx, y = symbols('x y')\nprint(x + y)", "y + x", _ENVIRONMENT),
    _theirs("x = 5", "<empty_execution>", _ENVIRONMENT),
    _theirs("1 = 1", "Cell In[2], line 1\n    1 = 1\n    ^\nSyntaxError: cannot assign to literal", _ENVIRONMENT),
    _theirs("print(5)", "UserWarning: this will be removed\n5", _ENVIRONMENT),
    _ours("print('a b')", "a  b\n", _ENVIRONMENT),  # as arrays are laid out
    # not: other digits, another error, other terms
    _ours("print(0.1 + 0.2)", "0.3001\n", _REAL),
    _ours("import numpy as np\nnp.float64(3.5)", "np.float64(3.6)\n", _REAL),
    _ours("raise ValueError(5)", "5\n", _REAL),
    _theirs("x = 5\nx", "6", _REAL),
    _theirs("from sympy import symbols\nx, y = symbols('x y')\nprint(x + y)", "x - y", _REAL),
)
REAL = (
    _ours("print(6 * 7)", "43\n", _REAL),
    _ours("print(6 * 7)", "", _REAL),
    _ours("x = 6 * 7", "42\n", _REAL),
    _ours("print(x)", "6\n", _REAL, "x = 5"),
    _theirs("print(6 * 7)", "43", _REAL),
    _theirs("print(1)\n1 / 0", "2\nZeroDivisionError: division by zero", _REAL),
)
EXAMPLES = (*SAME, *TIME, *RANDOMNESS, *HASH_ORDER, *ENVIRONMENT, *REAL)
