"""Ours beside (a) bare aiohttp and (b) a bare loop on the SDK: rows/s, CPU, memory, loop lag.

Each contestant runs in a fresh process against a server in another one. In every round they run one
after another; where they only wait, side by side, which takes a third of the time. Ratios are
medians over the rounds of the ratio within a round. Peers take part where they are installed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.contestants import TICK, Figures
from tests.bench.peers import PEERS, environments
from tests.bench.report import OURS, measure, middle, ratio, save, table
from tests.bench.wire import Wire, serving

__all__ = ["Cell", "main"]

BARE = ("aiohttp", "sdk")
NAMES = (*BARE, "ours")
# What the server is told, and the median in seconds.
LATENCIES = {"0": ("0", 0.0), "200ms": ("0.2", 0.2), "lognormal1s": ("lognormal:1:0.5", 1.0)}
# Requests a second that leave 95 % of a core idle; a timer of 5 ms would be most of the rest there.
IDLE, IDLE_TICK = 50, 0.05
HEADS = (
    "latency", "at once", "answers", "rows", "who", "rows/s", "CPU ms/row", "peak MB",
    "lag p50 ms", "lag p99 ms", "held p99 ms",
    "CPU to (b)", "CPU to (a)", "rows/s to (b)", "rows/s to (a)",
)  # fmt: skip
_CALLED = {"aiohttp": "(a) aiohttp", "sdk": "(b) SDK loop", "ours": "ondine_nb"}
_PATIENCE = 1800  # seconds that a peer may take for a round


@dataclass(frozen=True)
class Cell:
    """What all contestants are asked in one cell of the table."""

    latency: str
    concurrency: int
    schema: bool
    rows: int
    peers: Mapping[str, str]  # the Python of each

    @property
    def idle(self) -> bool:
        """Whether contestants wait so much that one doesn't disturb another beside it."""
        return self.concurrency <= IDLE * LATENCIES[self.latency][1]

    def rounds(self, repeat: int) -> dict[str, list[Figures]]:
        """Everybody's figures, a round after another; who fails is in no further one."""
        asked = [*NAMES, *self._peers()]
        found: dict[str, list[Figures]] = {}
        at_once = len(NAMES) if self.idle else 1
        for _ in range(repeat):
            with ThreadPoolExecutor(at_once) as pool:
                took = dict(zip(asked, pool.map(self._one, asked), strict=True))
            for name, figures in took.items():
                if figures is None:
                    asked.remove(name)
                else:
                    found.setdefault(name, []).append(figures)
        return found

    def _peers(self) -> list[str]:
        return [name for name in self.peers if PEERS[name].schema == self.schema]

    def _one(self, name: str) -> Figures | None:
        with serving(LATENCIES[self.latency][0], schema=self.schema) as wire:
            return self._ours(name, wire) if name in NAMES else self._peer(name, wire)

    def _ours(self, name: str, wire: Wire) -> Figures:
        figures = self._measured(name, wire, OURS)
        sent = wire.books()["requests"]
        assert sent == self.rows + 20, f"{name} sent {sent} requests for {self.rows} rows"
        return figures

    def _peer(self, name: str, wire: Wire) -> Figures | None:
        program = (self.peers[name], "-m", "tests.bench.peers")
        try:
            return self._measured(name, wire, program, timeout=_PATIENCE)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{name} is left out from here: {error}", file=sys.stderr)
            return None

    def _measured(self, name: str, wire: Wire, program: Sequence[str], **given: Any) -> Figures:
        return measure(
            name,
            wire.url,
            rows=self.rows,
            concurrency=self.concurrency,
            schema=self.schema,
            tick=IDLE_TICK if self.idle else TICK,
            program=program,
            **given,
        )

    def lines(self, found: dict[str, list[Figures]]) -> list[list[str]]:
        return [self._line(name, found) for name in found]

    def _line(self, name: str, found: dict[str, list[Figures]]) -> list[str]:
        figures = found[name]
        rounds = len(found["ours"])
        short = f", {len(figures)} of {rounds} rounds" if len(figures) < rounds else ""
        what = [self.latency, f"{self.concurrency:,}", "schema" if self.schema else "text"]
        lags = [middle(figures, lambda each, at=at: each.lags[at]) for at in ("p50", "p99", "held")]
        ratios = [
            f"{ratio(figures, found[other][: len(figures)], figure):.2f}"
            if name not in BARE
            else ""
            for figure in (cpu, pace)
            for other in ("sdk", "aiohttp")
        ]
        return [
            *what, f"{self.rows:,}", _CALLED.get(name, name) + short,
            f"{middle(figures, pace):,.0f}", f"{middle(figures, cpu):.3f}",
            f"{middle(figures, lambda each: each.peak):,.0f}", *(f"{lag:.1f}" for lag in lags),
            *ratios,
        ]  # fmt: skip


def cpu(figures: Figures) -> float:
    """CPU milliseconds a row."""
    return figures.cpu / figures.rows * 1000


def pace(figures: Figures) -> float:
    """Rows a second."""
    return figures.rows / figures.seconds


def _cells(given: argparse.Namespace) -> list[Cell]:
    peers = environments(given.peers)
    return [
        Cell(latency, concurrency, answers == "schema", given.rows, peers)
        for latency in given.latency
        for concurrency in given.concurrency
        for answers in given.answers
    ]


def _given(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench compare", description=__doc__)
    add = parser.add_argument
    add("--latency", nargs="+", choices=LATENCIES, default=list(LATENCIES))
    add("--concurrency", nargs="+", type=int, default=[10, 100, 1000])
    add("--answers", nargs="+", choices=("text", "schema"), default=["text", "schema"])
    add("--rows", type=int, default=2000, help="2000 to 1000000")
    add("--repeat", type=int, default=5, help="rounds, of which the median is shown")
    add("--peers", type=Path, help="a folder of environments, each named as the package in it")
    add("--json", type=Path, help="a file for all figures")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    given = _given(arguments)
    lines: list[list[str]] = []
    kept: list[dict[str, Any]] = []
    for cell in _cells(given):
        found = cell.rounds(given.repeat)
        lines += cell.lines(found)
        figures = {name: [asdict(each) for each in rounds] for name, rounds in found.items()}
        kept.append({**asdict(replace(cell, peers={})), "contestants": figures})
        save(given.json, kept)
        print(table(HEADS, cell.lines(found)), flush=True)
    print("\n" + table(HEADS, lines))
