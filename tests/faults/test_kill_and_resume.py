"""A run killed again and again goes on by its record, in new processes, within one budget."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from ondine_nb.schemas import parse_schema
from tests.asking import HAIKU
from tests.faults.test_kill import ROOT, after, idle, server_process
from tests.server import value_of

ROWS, WIDTH, KILLS = 3000, 100, 10
SCHEMA = "mood: good|bad, n: int"
SCRIPT = f"""
import sys
import pandas as pd
from ondine_nb import Pipeline, Run

url, out, how = sys.argv[1:]
data = pd.DataFrame({{"text": [f"text {{at}}" for at in range({ROWS})]}})
if how == "start":
    pipeline = Pipeline(
        data, "Tell: {{text}}", base_url=url, concurrency={WIDTH}, schema="{SCHEMA}", budget=1
    )
    run = Run(pipeline, name="labeled")
else:
    run = Pipeline.resume("labeled", data)
result = run.execute()
result.data.to_json(out, orient="records")
print(run.state, run.cost, run.job.budget.possibly_billed, flush=True)
"""
PROMPTS = [f"Tell: text {at}" for at in range(ROWS)]


def start(url: str, out: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, str(out), how],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def cost(entries: list[dict[str, Any]]) -> Decimal:
    price_in, price_out = (price / 1_000_000 for price in HAIKU)
    return sum(
        (
            entry["input_tokens"] * price_in + entry["output_tokens"] * price_out
            for entry in entries
        ),
        Decimal(0),
    )


def test_ten_kills_each_followed_by_a_resume_pay_again_only_what_was_in_flight(
    tmp_path: Path,
) -> None:
    out, rng = tmp_path / "out.json", random.Random(os.getpid())
    with server_process("--latency", "0.02:0.08") as url:
        in_flight = 0
        for kill in range(KILLS):
            process = start(url, out, "start" if kill == 0 else "resume")
            after(url, rng.randrange(1, ROWS // KILLS - WIDTH), process)
            process.kill()
            process.communicate()
            in_flight += WIDTH
            idle(url)
        process = start(url, out, "resume")
        said, problem = process.communicate(timeout=120)
        assert process.returncode == 0, problem
        found = idle(url)
    delivered = Counter(entry["prompt"] for entry in found["entries"])
    assert set(delivered) == set(PROMPTS)
    assert delivered.total() - ROWS <= in_flight
    sent = parse_schema(SCHEMA).json_schema
    values = [value_of(sent, prompt) for prompt in PROMPTS]
    frame = pd.read_json(out)
    assert list(frame["mood"]) == [value["mood"] for value in values]
    assert list(frame["n"]) == [value["n"] for value in values]

    state, spent, possibly_billed = said.split()
    billed = cost(found["entries"])
    assert state == "done"
    assert Decimal(spent) <= billed <= Decimal(spent) + Decimal(possibly_billed)


def test_a_budget_holds_over_kills(tmp_path: Path) -> None:
    """Killed three times on too small a budget: what was in flight each time is charged to it."""
    out = tmp_path / "out.json"
    budget = "budget=Decimal('0.012'), max_tokens=60"
    script = (
        SCRIPT.replace("budget=1", budget)
        .replace("concurrency=100", "concurrency=20")
        .replace("import sys\n", "import sys\nfrom decimal import Decimal\n")
    )
    with server_process("--latency", "0.02:0.08") as url:
        for how in ("start", "resume", "resume"):
            command = [sys.executable, "-c", script, url, str(out), how]
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            after(url, 100, process)
            process.kill()
            process.communicate()
            idle(url)
        command[-1] = "resume"
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        said, problem = process.communicate(timeout=120)
        assert process.returncode == 0, problem
        found = idle(url)
    state, spent, possibly_billed = said.split()
    billed = cost(found["entries"])
    assert state == "stopped"
    assert billed <= Decimal("0.012")
    assert Decimal(spent) + Decimal(possibly_billed) <= Decimal("0.012")
    assert Decimal(spent) + Decimal(possibly_billed) >= Decimal("0.9") * Decimal("0.012")
    assert Decimal(spent) <= billed <= Decimal(spent) + Decimal(possibly_billed)
