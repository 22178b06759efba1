"""What rows and concurrency cost as they grow: seconds, CPU, memory, journal; a table and plots."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.contestants import Figures
from tests.bench.plot import Chart, Line
from tests.bench.report import measure, middle, save, table
from tests.bench.wire import serving

__all__ = ["main"]

ROWS = (1_000, 10_000, 100_000, 1_000_000)
AT_ONCE = (1, 3, 10, 30, 100, 300, 1_000)
HEADS = ("who", "rows", "at once", "s", "rows/s", "CPU ms/row", "over input MB", "B/row",
         "journal MB", "lag p99 ms", "held p99 ms")  # fmt: skip
_CALLED = {"ours": "in memory", "streamed": "streamed"}
Rounds = list[Figures]


def _over(each: Figures) -> float:
    return each.peak - each.rss


def _line(name: str, concurrency: int, rounds: Rounds) -> list[str]:
    rows = rounds[0].rows
    seconds = middle(rounds, lambda each: each.seconds)
    over = middle(rounds, _over)
    return [
        _CALLED[name], f"{rows:,}", f"{concurrency:,}", f"{seconds:,.1f}", f"{rows / seconds:,.0f}",
        f"{middle(rounds, lambda each: each.cpu) / rows * 1000:.3f}", f"{over:,.0f}",
        f"{over * 2**20 / rows:,.0f}", f"{middle(rounds, lambda each: each.journal) / 1e6:,.1f}",
        f"{middle(rounds, lambda each: each.lags['p99']):.1f}",
        f"{middle(rounds, lambda each: each.lags['held']):.1f}",
    ]  # fmt: skip


def _rounds(name: str, url: str, repeat: int, **task: int) -> Rounds:
    return [measure(name, url, **task) for _ in range(repeat)]  # type: ignore[arg-type]


def by_rows(
    marks: Sequence[int], repeat: int, tell: Callable[..., None]
) -> dict[str, list[Rounds]]:
    """Both ways of running, without latency, 100 at once."""
    found: dict[str, list[Rounds]] = {"ours": [], "streamed": []}
    with serving() as wire:
        for rows in marks:
            for name, kept in found.items():
                # A million rows take minutes: once is enough where noise evens out.
                kept.append(_rounds(name, wire.url, repeat if rows < 10**5 else 1,
                                    rows=rows, concurrency=100))  # fmt: skip
                tell(name, 100, kept[-1])
    return found


def by_concurrency(
    marks: Sequence[int], repeat: int, seconds: float, tell: Callable[..., None]
) -> list[Rounds]:
    """At 200 ms, for about so many seconds each."""
    found: list[Rounds] = []
    with serving("0.2") as wire:
        for concurrency in marks:
            rows = max(20, min(5_000, int(concurrency * seconds / 0.2)))
            found.append(_rounds("ours", wire.url, repeat, rows=rows, concurrency=concurrency))
            tell("ours", concurrency, found[-1])
    return found


def _charts_of_rows(marks: Sequence[int], found: dict[str, list[Rounds]]) -> list[Chart]:
    def lines(figure: Callable[[Figures], float]) -> list[Line]:
        return [
            Line(
                _CALLED[name],
                list(zip(marks, [middle(each, figure) for each in all_of], strict=True)),
            )
            for name, all_of in found.items()
        ]

    return [
        Chart("seconds", "rows", lines(lambda each: each.seconds)),
        Chart("CPU seconds", "rows", lines(lambda each: each.cpu)),
        Chart("memory over the input, MB", "rows", lines(lambda each: max(1.0, _over(each)))),
        Chart("journal, MB", "rows", lines(lambda each: each.journal / 1e6)),
    ]


def _charts_of_concurrency(marks: Sequence[int], found: list[Rounds]) -> list[Chart]:
    def lines(figure: Callable[[Figures], float]) -> list[Line]:
        return [
            Line(
                "in memory", list(zip(marks, [middle(each, figure) for each in found], strict=True))
            )
        ]

    return [
        Chart("rows a second", "at once", lines(lambda each: each.rows / each.seconds)),
        Chart("CPU ms a row", "at once", lines(lambda each: each.cpu / each.rows * 1000)),
        Chart("memory over the input, MB", "at once", lines(lambda each: max(1.0, _over(each)))),
        Chart("loop held p99, ms", "at once", lines(lambda each: each.lags["held"])),
    ]


def _given(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench growth", description=__doc__)
    add = parser.add_argument
    add("--rows", nargs="*", type=int, default=list(ROWS))
    add("--concurrency", nargs="*", type=int, default=list(AT_ONCE))
    add("--seconds", type=float, default=4.0, help="about how long each concurrency is kept up")
    add("--repeat", type=int, default=3)
    add("--pictures", type=Path, help="a folder for growth-rows.svg and growth-concurrency.svg")
    add("--json", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    from tests.bench.plot import drawn

    given = _given(arguments)
    lines: list[list[str]] = []

    def tell(name: str, concurrency: int, rounds: Rounds) -> None:
        lines.append(_line(name, concurrency, rounds))
        print(" ".join(lines[-1]), flush=True)

    rows = by_rows(given.rows, given.repeat, tell)
    at_once = by_concurrency(given.concurrency, given.repeat, given.seconds, tell)
    print("\n" + table(HEADS, lines))
    kept: dict[str, Any] = {
        "rows": {name: [[asdict(x) for x in each] for each in all_of]
                 for name, all_of in rows.items()},
        "concurrency": [
            {"at once": n, "rounds": [asdict(x) for x in each]}
            for n, each in zip(given.concurrency, at_once, strict=True)
        ],
    }  # fmt: skip
    save(given.json, kept)
    if given.pictures is not None:
        charts = {"rows": _charts_of_rows(given.rows, rows),
                  "concurrency": _charts_of_concurrency(given.concurrency, at_once)}  # fmt: skip
        for name, each in charts.items():
            (given.pictures / f"growth-{name}.svg").write_text(drawn(each))
