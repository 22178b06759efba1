"""How quick the results view is: `python -m tests.bench results`. Reported, not asserted.

100,000 rows: the first state (aim: 1 s), a filter (300 ms), bytes of a page (200 kB); 1,000,000
rows: the first state of a plain frame and a page from their middle.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ondine_nb.notebook.results import ResultsView
from tests.notebook.ended_runs import ended_run, reviews


def timed(what: str, work: Callable[[], Any]) -> Any:
    begun = time.perf_counter()
    made = work()
    size = len(json.dumps(made)) if isinstance(made, dict) else 0
    took = 1000 * (time.perf_counter() - begun)
    print(f"{what}: {took:,.0f} ms" + (f", {size / 1000:,.0f} kB" if size else ""))
    return made


def main(words: Sequence[str] = ()) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = ended_run(reviews(100_000), Path(folder))
        view = ResultsView(run)
        timed("100,000 rows, first look", view._look)
        timed("100,000 rows, first state", view.state)
        ask = view.actions
        names = ["text", "sentiment", "score", "stars", "why"]
        plots = names[1:]
        only = [{"name": "sentiment", "values": ["positive"]}]
        given: dict[str, Any] = {"names": names, "plots": plots, "conditions": only}
        timed("100,000 rows, a filter", lambda: ask["look"](**given))
        timed("100,000 rows, sorted by a number", lambda: ask["look"](**given, sort="score"))
        told = timed("100,000 rows, sorted by a text", lambda: ask["look"](**given, sort="text"))
        version = told["version"]
        timed("a page of 60", lambda: ask["rows"](version=version, start=30_000, count=60))
        timed("a search", lambda: ask["find"](needle="phone", place=0, step=0))
        timed("the next hit", lambda: ask["find"](needle="phone", place=0, step=1))
    many = ResultsView(frame=pd.DataFrame({"n": range(1_000_000), "text": "a text"}), name="many")
    timed("1,000,000 rows, first look", many._look)
    version = many.state()["look"]["version"]
    rows = many.actions["rows"]
    timed("a page of their middle", lambda: rows(version=version, start=500_000, count=60))


if __name__ == "__main__":
    main()
