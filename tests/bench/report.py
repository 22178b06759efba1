"""What measurements have in common: a fresh process for each, medians, tables, JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.contestants import TICK, Figures

__all__ = ["OURS", "ROOT", "circumstances", "measure", "middle", "ratio", "save", "table"]

ROOT = Path(__file__).parents[2]
OURS = (sys.executable, "-m", "tests.bench.contestants")
_PACKAGES = ("anthropic", "aiohttp", "httpx2", "pandas", "ipywidgets")


def measure(
    name: str,
    url: str,
    *,
    rows: int,
    concurrency: int,
    schema: bool = False,
    tick: float = TICK,
    program: Sequence[str] = OURS,
    timeout: float = 7200,
) -> Figures:
    """The figures of one contestant in a fresh process; the lag's timer ticks every `tick` s."""
    command = [*program, name, "--url", url]
    command += ["--rows", str(rows), "--concurrency", str(concurrency), *["--schema"] * schema]
    command += ["--tick", str(tick)]
    # Proxies, keys and bases of this shell have no business here.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANTHROPIC")}
    done = subprocess.run(
        command, cwd=ROOT, env=kept, stdout=subprocess.PIPE, timeout=timeout, check=True, text=True
    )
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def middle(rounds: Sequence[Figures], figure: Callable[[Figures], float]) -> float:
    """The median of one figure."""
    return median(figure(each) for each in rounds)


def ratio(
    ours: Sequence[Figures], theirs: Sequence[Figures], figure: Callable[[Figures], float]
) -> float:
    """The median of the ratios within each round: what else ran then has slowed both."""
    return median(figure(us) / figure(them) for us, them in zip(ours, theirs, strict=True))


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its columns in line."""
    cells = [list(heads), *map(list, lines)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    rows = [
        "| " + " | ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])


def circumstances() -> dict[str, Any]:
    """When, where and with what it was measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m tests.bench", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def save(path: Path | None, figures: Any) -> None:
    """Write the figures as JSON, with how they came about."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(circumstances() | {"figures": figures}, indent=1) + "\n")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
