"""Runs in processes of their own, killed at chosen moments, against a server in another process."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from ondine_nb.prompts.schema import parse_schema
from tests import forks
from tests.patience import PATIENCE
from tests.server import value_of

__all__ = [
    "SCHEMA",
    "Process",
    "after",
    "assert_undisturbed",
    "books",
    "counts",
    "ends_well",
    "idle",
    "kill",
    "killed_and_let_through",
    "prompts",
    "server_process",
    "start",
]

ROOT = Path(__file__).parents[2]
SCHEMA = "mood: good|bad, n: int"
Process = forks.Process


@contextmanager
def server_process(*arguments: str) -> Iterator[str]:
    """The URL of a server in a process of its own."""
    command = ["-m", "tests.server", "--latency", "0.005:0.06", *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with forks.start(command, cwd=ROOT, **pipes) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def books(url: str) -> dict[str, Any]:
    """The server's ledger as it is now."""
    return _get(f"{url}/_ledger")


def counts(url: str) -> dict[str, Any]:
    """How many requests it has billed, and how many are in flight."""
    return _get(f"{url}/_counts")


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def start(script: str, *arguments: str | Path) -> Process:
    """A process that runs `script`."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return forks.start(["-c", script, *arguments], cwd=ROOT, **pipes)


def after(url: str, answers: int, process: Process) -> None:
    """Wait until `answers` more are billed."""
    before = counts(url)["requests"]
    while counts(url)["requests"] < before + answers:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def idle(url: str) -> dict[str, Any]:
    """The books once the server has seen that its clients are gone."""
    while counts(url)["in_flight"]:
        time.sleep(0.02)
    return books(url)


def kill(process: Process) -> None:
    """By SIGKILL; nothing of it is left when this returns."""
    process.kill()
    process.communicate()


def ends_well(process: Process) -> str:
    """What a process says that ends by itself, without an error."""
    said, problem = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, problem
    return said


def killed_and_let_through(
    starts: Callable[[], Process], url: str, moments: Sequence[int]
) -> tuple[str, dict[str, Any]]:
    """Kill one process after another, each after so many more answers, and let the last one end.

    Gives what that one says and the books.
    """
    for answers in moments:
        process = starts()
        after(url, answers, process)
        kill(process)
        idle(url)
    return ends_well(starts()), idle(url)


def prompts(rows: int) -> list[str]:
    return [f"Tell: text {at}" for at in range(rows)]


def assert_undisturbed(out: Path, rows: int) -> None:
    """The frame in `out` is that of a run that nothing has happened to."""
    schema = parse_schema(SCHEMA).json_schema
    values = [value_of(schema, prompt) for prompt in prompts(rows)]
    frame = pd.read_json(out)
    assert list(frame["mood"]) == [value["mood"] for value in values]
    assert list(frame["n"]) == [value["n"] for value in values]
