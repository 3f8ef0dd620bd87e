"""How a benchmark ends: a table for people, a JSON file for everything else."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def publish(
    name: str, result: dict[str, Any], columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> dict[str, Any]:
    """Print ``rows`` as a table, write ``result`` to results/NAME.json, and return it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=name)
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=160).print(table)
    result = {"benchmark": name, "at": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": machine(), **result}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def machine() -> dict[str, Any]:
    """What a figure depends on beside the code."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "").split()
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "vector": [flag for flag in ("avx2", "avx512f", "avx512_vnni") if flag in flags],
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
