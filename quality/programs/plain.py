"""Whether a program could do anything to tests that run beside it, in its own process.

Read off its text, by what is allowed: no dunder names but harmless ones, no way to them from text, no names that reach
into the interpreter, a few modules of which only public contents are used, classes that are derived from its own alone.
A program that is not plain is not thereby dishonest: what it passes is undecided.

Not covered: a class whose ordinary methods lie, in tests that ask them for yes or no.
"""

import ast
import builtins
import importlib
import re
from collections.abc import Iterator, Sequence
from types import ModuleType

MODULES = frozenset(
    (
        "math", "cmath", "re", "collections", "itertools", "functools", "heapq", "bisect", "operator", "random",
        "datetime", "string", "copy", "decimal", "fractions", "statistics", "typing", "dataclasses",
    )
)  # fmt: skip
_DUNDERS = frozenset(
    ("__init__", "__name__", "__main__", "__repr__", "__str__", "__len__", "__iter__", "__next__", "__slots__")
)
_FORBIDDEN = frozenset(
    (
        "getattr", "setattr", "delattr", "eval", "exec", "compile", "open", "globals", "locals", "vars", "type",
        "breakpoint", "help", "memoryview", "attrgetter", "methodcaller", "get_type_hints", "ForwardRef", "NamedTuple",
        "TypedDict", "NewType", "make_dataclass", "format_map", "vformat", "Formatter", "Template", "wraps",
        "update_wrapper", "singledispatch", "singledispatchmethod",
    )
)  # fmt: skip
_FRAMES = re.compile(r"(?:gi|cr|ag|f|tb|co|func)_")
_FIELD = re.compile(r"\{\w*[.\[]")


def is_plain(program: str, tests: Sequence[str]) -> bool:
    """Whether it is; what it must not redefine are the builtins and modules that the tests use."""
    try:
        tree = ast.parse(program)
        used = {node.id for test in tests for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
    except (SyntaxError, ValueError, RecursionError):
        return False
    nodes = list(ast.walk(tree))
    modules = {alias.asname or alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    guarded = used & (set(dir(builtins)) | MODULES)
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)} | {"object"}
    bases = [base for node in nodes if isinstance(node, ast.ClassDef) for base in (*node.bases, *node.keywords)]
    outer = {node.value for node in nodes if isinstance(node, ast.Attribute)}
    return (
        all(_is_harmless(node) for node in nodes)
        and all(isinstance(base, ast.Name) and base.id in classes for base in bases)
        and not any(isinstance(node, ast.Name) and node.id in modules and node not in outer for node in nodes)
        and not any(isinstance(node, ast.Attribute) and _leaves(node, modules) for node in nodes)
        and guarded.isdisjoint(_bound(tree.body))
        and not any(isinstance(node, ast.Global) and not guarded.isdisjoint(node.names) for node in nodes)
    )


def _is_harmless(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str() | bytes() as value):
            text = value if isinstance(value, str) else value.decode("latin-1")
            return "__" not in text or text == "__main__"
        case ast.Attribute(attr="format", value=value):
            return isinstance(value, ast.Constant) and not _FIELD.search(str(value.value))
        case ast.Attribute(attr=attr) if _FRAMES.match(attr):
            return False
        case ast.Import(names=names):
            return all(alias.name in MODULES for alias in names)
        case ast.ImportFrom(module=module, names=names, level=0):
            return module in MODULES and all(_is_public(str(module), alias.name) for alias in names)
        case ast.ImportFrom() | ast.Match():
            return False
    return all(_is_name(name) for name in _names(node))


def _names(node: ast.AST) -> Iterator[str]:
    """Every identifier that stands in a node itself."""
    for _, value in ast.iter_fields(node):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and not isinstance(node, ast.Constant):
                yield item


def _is_name(name: str) -> bool:
    return name not in _FORBIDDEN and ("__" not in name or name in _DUNDERS)


def _is_public(module: str, name: str) -> bool:
    if name == "*":
        return True
    found = getattr(importlib.import_module(module), name, None)
    return not name.startswith("_") and name not in _FORBIDDEN and not isinstance(found, ModuleType)


def _leaves(node: ast.Attribute, modules: set[str]) -> bool:
    """Whether an attribute of a module is a module, private, or assigned to."""
    if not (isinstance(node.value, ast.Name) and node.value.id in modules):
        return False
    # `import x as y` is looked up under every name, since only the set of modules is known
    names = {node.value.id} & MODULES or MODULES
    return not isinstance(node.ctx, ast.Load) or not all(_is_public(name, node.attr) for name in names)


def _bound(body: Sequence[ast.AST]) -> set[str]:
    """Names that a module's own statements bind, those in functions and classes left out."""
    found = set[str]()
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found.update(alias.asname or alias.name for alias in names if alias.asname not in (None, alias.name))
            case ast.Lambda():
                pass
            case _:
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
                    found.add(node.id)
                found |= _bound(list(ast.iter_child_nodes(node)))
                if isinstance(node, ast.ExceptHandler) and node.name:
                    found.add(node.name)
    return found
