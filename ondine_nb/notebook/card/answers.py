"""The answers of a run that is over: how each new column is distributed, and five rows by chance.

Everything here takes time by the number of rows. Whatever comes from data or model passes `clean`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from ...data import cell_name
from ...orchestration import Row
from ..ui import Pictures, Shown, clean
from .distributions import Distribution, distribution
from .figures import ENDED
from .table import MOST_PICTURES, Table, table_of

__all__ = ["QUICKLY", "Answers", "answers_of", "counted", "media_of", "rows_kept"]

QUICKLY = 5_000  # rows whose answers are counted while a loop waits
SHOWN = 5  # rows
MOST_PLOTS, MOST_BARS, MOST_CHOICES = 4, 4, 6
MOST_INPUTS, MOST_OUTPUTS = 3, 8  # columns of the rows
STEP = 2_000  # rows read in one go
_MEASURED = {"int", "float", "date", "datetime"}
_ASKED = {"answered", "journal", "failed"}
_COUNTED: WeakKeyDictionary[Any, Answers | None] = WeakKeyDictionary()
_CHANCE = random.Random  # which rows are shown is no secret


@dataclass(frozen=True, slots=True)
class Plot:
    """A new column: its distribution over the rows that were asked, and its kind in a word.

    `failed` counts rows without an answer, with their share of all as a text.
    """

    kind: str
    shown: Distribution
    failed: int
    share: str

    @property
    def failed_height(self) -> float:
        """The length of the bar of rows without an answer beside the others', in percent."""
        highest = max((bar.rows for bar in self.shown.bars if not bar.kind), default=0)
        return min(100.0, 100 * self.failed / (highest or max(self.failed, 1)))


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of a run. `of` is how many rows were answered, `hidden` columns have no plot."""

    plots: tuple[Plot, ...]
    hidden: int
    table: Table | None
    of: int


def rows_kept(run: Any) -> int | None:
    """How many rows' records a run keeps; None where it keeps none, as of a stream."""
    rows = getattr(getattr(getattr(run, "plan", None), "rowset", None), "rows", None)
    frame = getattr(getattr(run, "pipeline", None), "frame", None)
    return None if rows is None or frame is None else len(rows)


def answers_of(run: Any) -> Answers | None:
    """The answers of a run that is over; None where there is none, or no row is kept."""
    if run.state not in ENDED or rows_kept(run) is None:
        return None
    if run not in _COUNTED:
        _COUNTED[run] = _counted(run)
    return _COUNTED[run]


def counted(run: Any) -> bool:
    """Whether `answers_of` is at hand, or takes next to no time."""
    quick = (rows_kept(run) or 0) <= QUICKLY and not media_of(run)
    return run in _COUNTED or run.state not in ENDED or quick


def media_of(run: Any) -> tuple[str, ...]:
    """The columns that the prompt takes as pictures or documents."""
    template = getattr(getattr(run, "pipeline", None), "template", None)
    return tuple(dict.fromkeys(name for _, name in getattr(template, "forms", ()) if name))


def _counted(run: Any) -> Answers | None:
    asked = [row for row in list(run.plan.rowset.rows) if row and row.status in _ASKED]
    answered = [row for row in asked if row.status != "failed"]
    if not answered:
        return None
    quotes = run.plan.evidence
    columns = [it for it in run.plan.columns if it.name not in quotes or it.name.endswith("_match")]
    plots = [_plot(column, asked) for column in columns[:MOST_PLOTS]]
    return Answers(tuple(plots), len(columns) - len(plots), _some(run, answered), len(answered))


def _plot(column: Any, asked: Sequence[Row]) -> Plot:
    values = list(_values(column.name, asked))
    most = MOST_CHOICES if column.choices else MOST_BARS
    found = distribution(column.name, values, column.choices, most=most)
    if found.kind == "histogram" and column.kind not in _MEASURED:  # the lengths of texts
        note = f"{found.note.partition(',')[0]}, {found.low} to {found.high}"
        found = replace(found, kind="counts", bars=(), low="", high="", note=note)
    share = 100 * found.missing / len(asked)
    text = f"{share:.0f} %" if share >= 1 else "< 1 %"
    return Plot(clean(column.kind, 20), found, found.missing, text)


def _values(name: str, rows: Sequence[Row]) -> Iterator[Any]:
    for start in range(0, len(rows), STEP):
        yield from (row.outputs.get(name) for row in rows[start : start + STEP])


def _some(run: Any, answered: Sequence[Row]) -> Table:
    """Always the same rows of a number of them, in the order of the input."""
    picked = sorted(_CHANCE(0).sample(range(len(answered)), min(SHOWN, len(answered))))
    rows = [answered[at] for at in picked]
    frame, quotes = run.pipeline.frame, run.plan.evidence
    columns = [name for name in run.columns if name not in quotes]
    named = [name for name in run.pipeline.template.columns if name in frame.columns]
    inputs = named[:MOST_INPUTS]
    positions = [row.position for row in rows]
    cells = [cells for chunk in frame.iter_rows(inputs, positions=positions) for cells in chunk]
    labels = frame.labels(positions) if frame.index_names else [(at,) for at in positions]
    heads = [("index" if frame.index_names else "row", "pos")]
    heads += [(clean(name, 40), "in" if not at else "in more") for at, name in enumerate(inputs)]
    heads += [(clean(name, 40), "new") for name in columns[:MOST_OUTPUTS]]
    lines = [
        [", ".join(clean(value, 40) for value in label), *cells[at],
         *(rows[at].outputs.get(name) for name in columns[:MOST_OUTPUTS])]
        for at, label in enumerate(labels)
    ]  # fmt: skip
    return table_of(heads, lines, _pictured(run, inputs, lines, positions))


def _pictured(
    run: Any, inputs: Sequence[str], lines: list[list[Any]], positions: Sequence[int]
) -> dict[tuple[int, int], list[Shown]]:
    """The small pictures of the table's media cells; in `lines` their names stand for them."""
    known = Pictures.of(run.pipeline)
    made: dict[tuple[int, int], list[Shown]] = {}
    for column, name in enumerate(inputs, 1):
        for at, position in enumerate(positions if known and name in known else ()):
            lines[at][column] = cell_name(lines[at][column])
            if known is not None and known.saved:
                made[at, column] = known.small(position, name)[:MOST_PICTURES]
    return made
