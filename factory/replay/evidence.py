"""What code uses: clocks, generators, sets. Its syntax tree is read inside of the sandbox, as a parser can be attacked.

The code is not run there. What the reader prints is taken for words of a closed list, one line per block, and for
nothing where it is anything else.
"""

import json
from collections.abc import Sequence

from schemas.protocols import Sandbox
from schemas.vocabulary import ExecStatus

WORDS = ("random", "unseeded", "clock", "hash", "echo", "sympy", "numeric")
_READER = r"""
import ast, json, sys
CLOCKS = {"time.time", "time.time_ns", "time.perf_counter", "time.perf_counter_ns", "time.monotonic",
    "time.monotonic_ns", "time.process_time", "time.process_time_ns", "time.thread_time", "time.localtime",
    "time.gmtime", "time.ctime",
    "time.asctime", "time.strftime", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today",
    "datetime.date.today", "numpy.datetime64", "pandas.Timestamp.now", "pandas.Timestamp.today", "calendar"}
UNSEEDED = ("secrets", "os.urandom", "os.getpid", "uuid.uuid1", "uuid.uuid4", "random.SystemRandom", "id")
NEEDS_SEED = {"numpy.random.default_rng", "numpy.random.RandomState",
    "random.Random", "random.seed", "numpy.random.seed"}
SETS = {"set", "frozenset", "hash"}
SET_METHODS = {"free_symbols", "atoms", "union", "intersection", "difference", "symmetric_difference", "__hash__"}
names = {}
def dotted(node):
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return dotted(node.value) + "." + node.attr
    return "?"
def begins(name, prefixes):
    return any(name == one or name.startswith(one + ".") for one in prefixes)
for code in json.load(sys.stdin):
    found = set()
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        print("-")
        continue
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                names[one.asname or one.name.partition(".")[0]] = one.name if one.asname else one.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                if one.name == "*" and node.module in ("random", "time", "secrets", "sympy"):
                    module = __import__(node.module)
                    for name in getattr(module, "__all__", [n for n in dir(module) if n[0] != "_"]):
                        names[name] = node.module + "." + name
                else:
                    names[one.asname or one.name] = (node.module or "") + "." + one.name
    for node in ast.walk(tree):
        name = dotted(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""
        if begins(name, ("random", "numpy.random", "sympy.core.random", "scipy.stats", "sympy.stats")):
            found.add("random")
        if begins(name, CLOCKS) or begins(name, ("timeit",)):
            found.add("clock")
        if begins(name, UNSEEDED):
            found.add("unseeded")
        if isinstance(node, ast.Call) and dotted(node.func) in NEEDS_SEED:
            given = [a for a in [*node.args, *[k.value for k in node.keywords]]]
            if not given or (isinstance(given[0], ast.Constant) and given[0].value is None):
                found.add("unseeded")
        if isinstance(node, (ast.Set, ast.SetComp)) or name in SETS or getattr(node, "attr", "") in SET_METHODS:
            found.add("hash")
        if begins(name, ("scipy", "numpy.linalg", "numpy.roots", "numpy.polyfit", "sympy.nsolve", "mpmath.findroot")):
            found.add("numeric")
        if name.partition(".")[0] in ("sympy", "mpmath"):
            found.add("sympy")
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        called = dotted(last.value.func) if isinstance(last.value, ast.Call) else ""
        if called != "print":
            found.add("echo")
    print(" ".join(sorted(found)) or "-")
"""


async def uses(sandbox: Sandbox, blocks: Sequence[str]) -> list[frozenset[str]]:
    """Of each block what the code up to and with it uses, for state lives on; `echo` is of the block alone.

    Args:
        sandbox: Where the code is read.
        blocks: Of one row, in order.

    Returns:
        Words of `WORDS`; none where the code cannot be read.
    """
    result = await sandbox.run(_READER, stdin=json.dumps(list(blocks)))
    lines = result.stdout.splitlines()
    if result.status is not ExecStatus.OK or len(lines) != len(blocks):
        lines = [""] * len(blocks)
    found, so_far = [], frozenset[str]()
    for line in lines:
        own = frozenset(line.split()) & frozenset(WORDS)
        so_far |= own - {"echo"}
        found.append(so_far | (own & {"echo"}))
    return found
