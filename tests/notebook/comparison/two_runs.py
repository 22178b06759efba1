"""Two ended runs over the same tickets, answered by two prompts; and what is right."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd

from ondine_nb import Run
from tests.notebook.ended_runs import ended_run

__all__ = ["GOLD", "PROMPTS", "SCHEMA", "tickets", "two_runs"]

SCHEMA = "urgency: low|medium|high, refund: bool, confidence: float, topic: str"
PROMPTS = (
    "Judge it strictly. Give a reason.\n\n{subject}\n{body}",
    "Judge it strictly. Quote the words that decide.\nA question is low.\n\n{subject}\n{body}",
)
LEVELS = ("low", "medium", "high")
BODIES = (
    "My card shows two charges of 49 for March. The second one came the day after the first.",
    "After the battery change the keypad takes none of our codes, and it is raining. " * 3,
    "Live view spins, then says no connection. It was fully charged before the update.",
)


def GOLD(at: int) -> str:
    return LEVELS[at * 7 % 3]


def tickets(rows: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject": [f"Ticket number {at}" for at in range(rows)],
            "body": [f"{BODIES[at % 3]} ({at})" for at in range(rows)],
            "gold": [GOLD(at) for at in range(rows)],
        }
    )


def two_runs(folder: Path, rows: int = 40, failing: float = 0.0, **texts: Any) -> tuple[Run, Run]:
    """`v3` is right on about two rows of three, `v4` on about four of five."""
    frame = tickets(rows).assign(**texts)
    runs = []
    for number, (name, share) in enumerate((("v3", 0.66), ("v4", 0.8))):
        run = ended_run(frame, folder, PROMPTS[number], failing=failing, schema=SCHEMA)
        run.name = name
        dice = random.Random(number)
        for row in run.plan.rowset.rows:
            if row is not None and row.outputs:
                right = GOLD(row.position)
                wrong = dice.choice([it for it in LEVELS if it != right])
                row.outputs = {
                    "urgency": right if dice.random() < share else wrong,
                    "refund": row.position % 4 == 0 or dice.random() < 0.05,
                    "confidence": round(dice.random(), 2),
                    "topic": f"topic {dice.randrange(3)}",
                }
        runs.append(run)
    return runs[0], runs[1]
