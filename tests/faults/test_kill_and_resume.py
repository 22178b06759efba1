"""A run killed again and again goes on by its record, in new processes, within one budget."""

from __future__ import annotations

import os
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.asking import HAIKU
from tests.faults.processes import (
    SCHEMA,
    assert_undisturbed,
    killed_and_let_through,
    prompts,
    server_process,
    start,
)

ROWS, WIDTH, KILLS = 3000, 100, 10
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
print(run.state, run.cost, run.plan.budget.possibly_billed, flush=True)
"""


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
        ways = iter(["start"] + ["resume"] * KILLS)
        moments = [rng.randrange(1, ROWS // KILLS - WIDTH) for _ in range(KILLS)]
        said, found = killed_and_let_through(
            lambda: start(SCRIPT, url, out, next(ways)), url, moments
        )
    delivered = Counter(entry["prompt"] for entry in found["entries"])
    assert set(delivered) == set(prompts(ROWS))
    assert delivered.total() - ROWS <= WIDTH * KILLS
    assert_undisturbed(out, ROWS)

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
        ways = iter(["start"] + ["resume"] * 3)
        said, found = killed_and_let_through(
            lambda: start(script, url, out, next(ways)), url, [100] * 3
        )
    state, spent, possibly_billed = said.split()
    billed = cost(found["entries"])
    assert state == "stopped"
    assert billed <= Decimal("0.012")
    assert Decimal(spent) + Decimal(possibly_billed) <= Decimal("0.012")
    assert Decimal(spent) + Decimal(possibly_billed) >= Decimal("0.9") * Decimal("0.012")
    assert Decimal(spent) <= billed <= Decimal(spent) + Decimal(possibly_billed)
