"""How quick tries and comparisons are: `python -m tests.bench tries`. Reported, not asserted.

500 tries: keeping one more, opening them as a new kernel does, the leaderboard as a frame and as
text. 40, 1,000 and 10,000 rows: two runs compared, the first state and another tab.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter

import ondine_nb
from ondine_nb.evaluation import Tries, Try, TryScore
from ondine_nb.journal import use
from ondine_nb.notebook.judging import tries_line
from tests.notebook.comparison.two_runs import two_runs

from .results import timed

TRIES = 500
PROMPT = "You triage support tickets for a maker of smart-home devices.\n" + "\n".join(
    f"Rule {at}: judge what the writer needs, and how soon." for at in range(20)
)


def _tried(number: int) -> Try:
    """A try as a person makes one: a line of the prompt is another, or the model is."""
    lines = PROMPT.split("\n")
    lines[1 + number % 20] = f"Rule {number}: quote the words that decide."
    model = "claude-haiku-5-5" if number % 5 else "claude-sonnet-5-5"
    settings = {"prompt": "\n".join([*lines, "{subject}", "{body}"]), "model": model}
    score = TryScore("urgency", "accuracy", 40, 0.85, 0.71, 0.93, 0.84)
    return Try(settings, tuple(range(40)), "content", 240, 40, 40, 0, Decimal("0.0018"),
               9_000, 1_600, 0.8, [score], "3f2a9c1b04d7")  # fmt: skip


def main(words: Sequence[str] = ()) -> None:
    with tempfile.TemporaryDirectory() as folder:
        use(folder)
        tries, took = Tries("tickets"), []
        for number in range(TRIES):
            begun = perf_counter()
            tries.keep(_tried(number))
            took.append(1000 * (perf_counter() - begun))
        print(
            f"one try kept: {median(took[:50]):.1f} ms, the last ones {median(took[-50:]):.1f} ms"
        )
        opened = timed(f"{TRIES} tries, opened anew", lambda: Tries("tickets"))
        timed("their list", lambda: opened.tries)
        timed("the leaderboard as a frame", opened.frame)
        timed("%ondine tries", lambda: tries_line("tickets"))
        timed("a note", lambda: opened.note(250, "the careful one"))
        timed("the list again", lambda: opened.tries)
        use(None)
    for rows in (40, 1_000, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            runs = two_runs(Path(folder), rows)
            view = timed(
                f"{rows:,} rows of two runs, compared",
                lambda: ondine_nb.compare(*runs, field="urgency", labels="gold"),  # noqa: B023
            )
            timed("the first state", view.state)
            timed("another tab", lambda: view.actions["look"](tab="broke"))  # noqa: B023


if __name__ == "__main__":
    main()
