"""How straight the way of a row is: calls and changes of module in a run over rows not journaled.

A *call* is one entry into a function that somebody wrote in the package, on the thread of the
loop: its start, or its resumption after an `await` or `yield` (each coroutine of a chain that
waits is entered anew). Not counted are the bodies of modules and classes, comprehensions (part of
the function they stand in), what dataclasses make, other packages, and the journal's thread.

A *change of module* is a call into another module than the call before it, whatever lay between
(returns, other packages, the loop). Two narrower or wider readings stand beside it: *starts* leave
resumptions out of both; *with returns* counts a return into another module as a change too.

"One row" is everything from `Pipeline(...)` to the end of its run over one row, with a journal of
its own, in a process that has run two rows before (imports, certificates). "Each further row" is
what a run of N + k rows has more than one of N, divided by k; the median of some pairs, with the
lowest and highest. Work for each chunk of 250 rows isn't in it as long as N + k is below. Rows have
distinct texts and run one at a time, so that tasks that alternate aren't changes of the way. The
run's ticker (the card, the checkpoints) is another task on the same loop: the loop's clock goes 20
times slower than the wall's, so that it sleeps while rows are traced.

`--modules` shows the way of one further row: what the walk over N + 1 rows has more than the one
over N, in order, call by call.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby, pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from tests.bench.contestants import KEY
from tests.bench.report import ROOT, save, table
from tests.server import MessagesServer

__all__ = ["Block", "Counts", "Figure", "Traced", "added", "counts", "main", "traced"]

START, RESUME, BACK = range(3)  # as in traced.py, which can't be imported from here
_AGREE = 12  # steps: more than two ways have in common by chance
HEADS = ("", "modules", "calls", "changes", "starts", "changes of starts", "with returns")

Step: TypeAlias = tuple[int, int]  # a kind, and the number of a function
Walk: TypeAlias = list[Step]


@dataclass(frozen=True)
class Counts:
    """What one walk has of each: see the module's docstring."""

    modules: float
    calls: float
    changes: float
    starts: float
    start_changes: float
    return_changes: float

    def figures(self) -> tuple[float, ...]:
        return tuple(vars(self).values())


@dataclass(frozen=True)
class Figure:
    """The median of one figure, its lowest and its highest value."""

    middle: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        spread = f" ({self.lowest:,g} to {self.highest:,g})" if self.lowest < self.highest else ""
        return f"{self.middle:,g}{spread}"


@dataclass(frozen=True)
class Block:
    """Consecutive calls in one module: the names of the functions, `…` before a resumed one."""

    module: str
    functions: list[str]


@dataclass(frozen=True)
class Traced:
    """The walks of one checkout by the number of their rows, and its functions by number."""

    functions: list[tuple[str, str]]  # module and name
    walks: dict[int, list[Walk]]

    def whole(self, rows: int) -> list[Figure]:
        """The figures of a run over so many rows."""
        return _figures([counts(walk, self.functions).figures() for walk in self.walks[rows]])

    def further(self, rows: int, more: int) -> list[Figure]:
        """The figures of each further row, from runs over `rows` and over `rows + more`.

        The first is how many modules a further row's calls are in, not how many are new.
        """
        pairs = zip(self.walks[rows], self.walks[rows + more], strict=True)
        return _figures([self._further(fewer, longer, more) for fewer, longer in pairs])

    def _further(self, fewer: Walk, longer: Walk, more: int) -> list[float]:
        of = [counts(walk, self.functions).figures() for walk in (fewer, longer)]
        share = [(after - before) / more for before, after in zip(*of, strict=True)]
        return [len(self._grown(fewer, longer, more)), *share[1:]]

    def _grown(self, fewer: Walk, longer: Walk, more: int) -> set[str]:
        """The modules that are called at least once more for each further row."""
        calls: dict[str, int] = {}
        for walk, sign in ((fewer, -1), (longer, 1)):
            for module in _modules(walk, self.functions, (START, RESUME)):
                calls[module] = calls.get(module, 0) + sign
        return {module for module, grown in calls.items() if grown >= more}

    def way(self, rows: int) -> list[list[Block]]:
        """The way of one further row behind `rows`, in its pieces.

        It has several where some of the work is done for all rows before the next step begins.
        """
        pairs = zip(self.walks[rows], self.walks[rows + 1], strict=True)
        pieces = min(
            (added(*map(_entries, pair)) for pair in pairs), key=lambda each: sum(map(len, each))
        )
        return [self._blocks(piece) for piece in pieces]

    def _blocks(self, piece: Walk) -> list[Block]:
        grouped = groupby(piece, lambda step: self.functions[step[1]][0])
        return [Block(module, [self._name(step) for step in steps]) for module, steps in grouped]

    def _name(self, step: Step) -> str:
        kind, number = step
        return "…" * (kind == RESUME) + self.functions[number][1]


def counts(walk: Walk, functions: Sequence[tuple[str, str]]) -> Counts:
    """Count a walk."""
    calls, starts, steps = (
        list(_modules(walk, functions, kinds))
        for kinds in ((START, RESUME), (START,), (START, RESUME, BACK))
    )
    changed = [sum(a != b for a, b in pairwise(way)) for way in (calls, starts, steps)]
    return Counts(len(set(calls)), len(calls), changed[0], len(starts), changed[1], changed[2])


def added(fewer: Walk, longer: Walk) -> list[Walk]:
    """What `longer` has that `fewer` hasn't, in its connected pieces.

    Both are followed for as long as they agree, so that a piece begins where a loop goes round
    once more. (A diff by longest blocks takes out one round and puts in two.)
    """
    pieces, at, other = [], 0, 0
    while other < len(longer):
        if at < len(fewer) and fewer[at] == longer[other]:
            at, other = at + 1, other + 1
            continue
        skipped, more = _apart(fewer[at:], longer[other:])
        pieces += [longer[other : other + more]] if more else []
        at, other = at + skipped, other + more
    return pieces


def _apart(fewer: Walk, longer: Walk) -> tuple[int, int]:
    """How many steps of each to leave out, the fewest in all, until they agree for a while."""
    for total in count(1):
        for skipped in range(max(0, total - len(longer)), min(total, len(fewer)) + 1):
            more = total - skipped
            if fewer[skipped : skipped + _AGREE] == longer[more : more + _AGREE]:
                return skipped, more
    raise AssertionError("two walks agree at their ends")


def _entries(walk: Walk) -> Walk:
    return [step for step in walk if step[0] != BACK]


def _modules(
    walk: Walk, functions: Sequence[tuple[str, str]], kinds: tuple[int, ...]
) -> Iterator[str]:
    return (functions[number][0] for kind, number in walk if kind in kinds)


def _figures(rounds: Sequence[Sequence[float]]) -> list[Figure]:
    return [Figure(median(each), min(each), max(each)) for each in zip(*rounds, strict=True)]


def traced(
    checkout: Path,
    sizes: Sequence[int],
    *,
    repeat: int = 3,
    concurrency: int = 1,
    own: bool = False,
) -> Traced:
    """Trace runs of `sizes` rows in a fresh process that imports the package from `checkout`."""
    checkout = checkout.resolve()
    if not (checkout / "ondine_nb").is_dir():
        sys.exit(f"{checkout} has no folder ondine_nb: name the root of a checkout")
    command = [sys.executable, "-P", str(Path(__file__).with_name("traced.py"))]
    command += ["--repeat", str(repeat), "--concurrency", str(concurrency)]
    with TemporaryDirectory() as folder, MessagesServer() as server:
        command += ["--folder", f"{folder}", "--url", "" if own else server.url]
        command += ["--rows", *map(str, sizes)]
        # Proxies, keys and bases of this shell have no business here.
        kept = {key: value for key, value in os.environ.items() if "ANTHROPIC" not in key}
        kept |= {"PYTHONPATH": str(checkout), "ANTHROPIC_API_KEY": KEY}
        done = subprocess.run(
            command, cwd=folder, env=kept, stdout=subprocess.PIPE, check=True, text=True
        )
        asked = server.ledger.requests
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["package"]) == checkout / "ondine_nb", found["package"]
    assert own or asked >= sum(sizes) * repeat, f"only {asked} rows were asked"
    walks: dict[int, list[Walk]] = {rows: [] for rows in sizes}
    for rows, steps in found["runs"]:
        walks[rows].append([(kind, number) for kind, number in steps])
    return Traced([(module, name) for module, name in found["functions"]], walks)


def _label(checkout: Path) -> str:
    """The commit of a checkout, or its folder's name where it is none."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return told.stdout.strip() or checkout.resolve().name


def _shown(way: list[list[Block]]) -> Iterator[str]:
    for at, piece in enumerate(way, 1):
        calls = sum(len(block.functions) for block in piece)
        yield f"piece {at} of {len(way)}: {calls} calls, {len(piece) - 1} changes within it"
        for block in piece:
            yield f"  {block.module:32} {len(block.functions):3}  {', '.join(block.functions)}"


def _lines(name: str, found: Traced, rows: int, more: int) -> list[list[str]]:
    return [
        [f"{name}, one row", *map(str, found.whole(1))],
        [f"{name}, each further row", *map(str, found.further(rows, more))],
    ]


def _ratios(found: Sequence[Traced], rows: int, more: int) -> list[list[str]]:
    """The last lines of the table: the first checkout to each other one."""
    first, *others = (each.further(rows, more) for each in found)
    return [
        ["ratio, each further row"]
        + [f"{a.middle / b.middle:.2f}" for a, b in zip(first, other, strict=True)]
        for other in others
    ]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench trace",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--checkout",
        type=Path,
        action="append",
        help="root of one (default: this one); may be repeated",
    )
    parser.add_argument(
        "--beside", type=Path, action="append", default=[], help="another, for the ratio to it"
    )
    parser.add_argument("--rows", type=int, default=20, help="N, and k")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=1, help="the measure is at 1")
    parser.add_argument("--own", action="store_true", help="a trivial provider, not the wire")
    parser.add_argument("--modules", action="store_true", help="the way of one further row")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    checkouts = [*(given.checkout or [ROOT]), *given.beside]
    rows, labels = given.rows, [_label(each) for each in checkouts]
    sizes = list(dict.fromkeys((1, rows, rows + 1, 2 * rows)))
    found = [
        traced(
            each, sizes, repeat=given.repeat, concurrency=given.concurrency, own=given.own
        )
        for each in checkouts
    ]  # fmt: skip
    lines = [
        line
        for name, each in zip(labels, found, strict=True)
        for line in _lines(name, each, rows, rows)
    ]
    lines += _ratios(found, rows, rows)
    save(given.json, {"heads": HEADS, "lines": lines})
    print((__doc__ or "").split("\n\n`--modules`")[0], end="\n\n")
    print(table(HEADS, lines))
    if given.modules:
        for name, each in zip(labels, found, strict=True):
            print(f"\n{name}: the way of one further row", *_shown(each.way(rows)), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
