"""A process killed at any moment loses no answer that it has paid for and counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from ondine_nb.schemas import parse_schema
from tests.server import MessagesServer, value_of

ROOT = Path(__file__).parents[2]
ROWS, WIDTH = 600, 50
SCHEMA = "mood: good|bad, n: int"
SCRIPT = f"""
import sys
import pandas as pd
from ondine_nb import Pipeline

url, out = sys.argv[1:]
data = pd.DataFrame({{"text": [f"text {{at}}" for at in range({ROWS})]}})
result = Pipeline(
    data, "Tell: {{text}}", base_url=url, concurrency={WIDTH}, schema="{SCHEMA}"
).execute()
result.data.to_json(out, orient="records")
print(result.costs.total_cost, flush=True)
"""
PROMPTS = [f"Tell: text {at}" for at in range(ROWS)]


@contextmanager
def server_process(*arguments: str) -> Iterator[str]:
    """The URL of a server in a process of its own."""
    command = [sys.executable, "-m", "tests.server", "--latency", "0.005:0.06", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def books(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/_ledger") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def start(url: str, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, str(out)],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def after(url: str, answers: int, process: subprocess.Popen[str]) -> None:
    """Wait until `answers` more are billed."""
    before = books(url)["requests"]
    while books(url)["requests"] < before + answers:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def idle(url: str) -> dict[str, Any]:
    """The books once the server has seen that its clients are gone."""
    while (found := books(url))["in_flight"]:
        time.sleep(0.02)
    return found


def test_after_kills_only_what_was_in_flight_is_paid_again(tmp_path: Path) -> None:
    """Killed at three moments, then let through: the frame is that of an undisturbed run."""
    out = tmp_path / "out.json"
    faults = ["--faults", "429=.03,reset_after=.01,malformed=.01", "--retry-after", "0.01"]
    with server_process(*faults) as url:
        kills = (1, 150, 300)
        for answers in kills:
            process = start(url, out)
            after(url, answers, process)
            process.kill()
            process.communicate()
            idle(url)
        process = start(url, out)
        _, problem = process.communicate(timeout=120)
        assert process.returncode == 0, problem
        found = idle(url)
    delivered = Counter(entry["prompt"] for entry in found["entries"] if entry["delivered"])
    assert set(delivered) == set(PROMPTS)
    assert delivered.total() - ROWS <= WIDTH * len(kills)
    sent = parse_schema(SCHEMA).json_schema
    values = [value_of(sent, prompt) for prompt in PROMPTS]
    frame = pd.read_json(out)
    assert list(frame["mood"]) == [value["mood"] for value in values]
    assert list(frame["n"]) == [value["n"] for value in values]


def test_kills_during_the_next_runs_take_over_of_the_journal_lose_nothing(
    tmp_path: Path, server: MessagesServer
) -> None:
    """A process that dies while it starts leaves the files as good as it found them."""
    out = tmp_path / "out.json"
    first = start(server.url, out)
    assert first.wait(60) == 0, first.communicate()
    first.communicate()
    for at in (2, 4):
        process = start(server.url, out)
        time.sleep(0.25 * at)
        process.kill()
        process.communicate()
    last = start(server.url, out)
    said, problem = last.communicate(timeout=60)
    assert last.returncode == 0, problem
    assert server.arrived == ROWS
    assert float(said) == 0


def test_an_interrupt_of_a_script_waits_for_what_is_in_flight(
    tmp_path: Path, server: MessagesServer
) -> None:
    """Ctrl-C ends it by KeyboardInterrupt, and nothing that came is paid again."""
    out = tmp_path / "out.json"
    server.pause()
    process = start(server.url, out)
    server.wait_for(8, timeout=60)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    server.resume()
    _, problem = process.communicate(timeout=60)
    assert process.returncode != 0
    assert problem.strip().endswith("KeyboardInterrupt")
    assert server.ledger.requests == server.arrived == 8
    again = start(server.url, out)
    assert again.wait(60) == 0, again.communicate()
    again.communicate()
    assert server.ledger.requests == ROWS
