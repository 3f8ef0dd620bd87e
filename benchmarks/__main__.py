"""The runner: ``python -m benchmarks`` lists what there is, ``python -m benchmarks NAME...`` runs it.

What follows ``--`` goes to every benchmark named: ``python -m benchmarks push -- --tasks 2000``.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent


def available() -> dict[str, str]:
    """Name -> first line of the docstring, of every module here that has a ``main``. Nothing is imported."""
    found = {}
    for path in sorted(HERE.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main(argv: list[str]) -> int:
    """Run the benchmarks named; list all if none is. Returns the exit status."""
    names, options = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    known = available()
    if unknown := [name for name in names if name not in known]:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    if not names:
        width = max(map(len, known))
        for name, says in known.items():
            print(f"{name:{width}}  {says}")
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main(options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
