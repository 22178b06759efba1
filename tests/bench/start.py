"""How long a notebook waits: for the import, for `%load_ext`, for the first paint and request.

The cell is run in a real kernel, fresh for each round, and its first paint is the first display
that reaches a front end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.report import save, table
from tests.bench.wire import Wire, serving
from tests.notebook.kernels import Kernel

__all__ = ["main"]

LOADING = """
import time as _time
_from, _cpu = _time.perf_counter(), _time.thread_time()
get_ipython().run_line_magic("load_ext", "ondine_nb")
_took, _cpu = _time.perf_counter() - _from, _time.thread_time() - _cpu
"""
FRAME = """
import pandas as pd
reviews = pd.DataFrame({"text": [f"Review {n}: it does what it should." for n in range(200)]})
"""
CELL = "%%ondine labeled -i reviews --budget 2 --base-url URL\nHow do they feel? {text}"
WHATS = {
    "import": "import ondine_nb",
    "load_ext": "%load_ext ondine_nb",
    "load_ext_cpu": "... CPU of its thread",
    "paint": "%%ondine, the first after the start, to the first paint",
    "request": "... to the first request (the SDK's import included)",
    "paint_again": "a second %%ondine to the first paint",
    "request_again": "... to the first request",
}


def _import() -> float:
    code = "import time; a = time.perf_counter(); import ondine_nb; print(time.perf_counter() - a)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return float(done.stdout) * 1000


def _cell(kernel: Kernel, wire: Wire, code: str) -> tuple[float, float]:
    """Milliseconds from the cell to what is shown first and to the first request."""
    before = wire.books()["requests"]
    sent = time.time()
    message = kernel.start(code)
    painted = _painted(kernel, message)
    kernel.finish(message)
    books = wire.books()
    assert books["requests"] - before == 200
    return (painted - sent) * 1000, (books["first"] - sent) * 1000


def _painted(kernel: Kernel, message: str) -> float:
    """When the first display of a cell came, as POSIX time."""
    while True:
        try:
            came = kernel._client.get_iopub_msg(timeout=30)
        except Empty:
            raise TimeoutError("the cell shows nothing") from None
        now = time.time()
        kernel.messages.append(came)
        kernel._seen[came["parent_header"].get("msg_id", "")].append(came)
        if came["msg_type"] == "display_data" and came["parent_header"].get("msg_id") == message:
            return now


def _round(at_once: bool) -> dict[str, float]:
    """All figures of one fresh kernel; `at_once` runs the cell right behind `%load_ext`."""
    with TemporaryDirectory() as folder, Kernel(Path(folder), load=False, forked=False) as kernel:
        kernel.run(FRAME)
        kernel.run(LOADING)
        found = {"import": _import(), "load_ext": kernel.value("_took") * 1000}
        found["load_ext_cpu"] = kernel.value("_cpu") * 1000
        if not at_once:
            time.sleep(3)
        for name in ("", "_again"):  # each has a server of its own, so a first request too
            with serving() as wire:
                code = CELL.replace("URL", wire.url)
                found[f"paint{name}"], found[f"request{name}"] = _cell(kernel, wire, code)
    return found


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench start", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--at-once", action="store_true", help="the cell right behind %%load_ext")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    rounds = [_round(given.at_once) for _ in range(given.repeat)]
    save(given.json, rounds)
    lines = [
        [
            what,
            f"{median(each[name] for each in rounds):,.0f}",
            f"{min(each[name] for each in rounds):,.0f}",
        ]
        for name, what in WHATS.items()
    ]
    print(table(("what", "median ms", "best ms"), lines))
