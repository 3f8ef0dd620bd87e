"""What import-linter can't say: an import of our own inside a function is there for something heavy, or not at all."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(("nextlabel", *parts[:-1], *([] if parts[-1] == "__init__" else [parts[-1]]))): path
    for room in ("connectors", "backend", "recipes")
    for path in (ROOT / room).rglob("*.py")
    for parts in [path.relative_to(ROOT).with_suffix("").parts]
}


@cache
def imports(module: str) -> list[tuple[int, bool, str]]:
    """Lines of import statements, whether they stand in a function, and what each of their names imports."""

    def walk(node: ast.AST, inner: bool) -> Iterator[tuple[ast.stmt, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                yield child, inner
            elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
                yield from walk(child, inner or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))

    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for node, inner in walk(ast.parse(FILES[module].read_text(encoding="utf-8")), False):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            assert isinstance(node, ast.ImportFrom)
            parents = package.split(".")
            above = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (above, node.module)))
            names = [name if (name := f"{base}.{alias.name}") in FILES else base for alias in node.names]
        found += [(node.lineno, inner, name) for name in names]
    return found


@cache
def loaded(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """All of our modules, and all packages of others, that come with an import of ``module``."""
    ours, theirs, todo = set[str](), set[str](), [module]
    while todo:
        one = todo.pop()
        if one in ours or one not in FILES:
            continue
        ours.add(one)
        todo += [one[:at] for at, letter in enumerate(one) if letter == "."]
        for _, inner, name in imports(one):
            if not inner and name.startswith("nextlabel"):
                todo.append(name)
            elif not inner and (top := name.partition(".")[0]) not in sys.stdlib_module_names:
                theirs.add(top)
    return frozenset(ours), frozenset(theirs)


def test_an_import_inside_a_function_brings_a_library_along() -> None:
    idle = [
        f"{module}:{line} {name}"
        for module in FILES
        for line, inner, name in imports(module)
        if inner and name.startswith("nextlabel") and not loaded(name)[1] - loaded(module)[1]
    ]
    assert idle == []
