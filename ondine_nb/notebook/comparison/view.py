"""The comparison in the browser: tabs, a matrix whose cells bring their rows to the top, rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...evaluation import Paired
from ..ui import LiveView
from .comparison import ComparedRow, Comparison
from .look import Look, detail_of, figures, lines_of, ordered, text_columns
from .page import static

__all__ = ["ComparisonView"]

FIRST_ROWS, MOST_ROWS = 40, 400
MOST_TEXTS = 2  # of the prompt's columns that the table shows

Relabel = Callable[[Mapping[str, int], str, Any], Comparison]


class ComparisonView(LiveView):
    """A comparison, shown. `frame` has its rows, `test` the paired test.

    `relabel(row, field, value)` keeps a label that was given by a key (`row` has the position `at`
    in the first and `other` in the second) and gives the comparison as it is then; without it rows
    can't be labelled here. `embedded` is one that stands inside another view.
    """

    module = "comparison/comparison.js"
    sheet = "comparison/comparison.css"

    def __init__(
        self, comparison: Comparison, relabel: Relabel | None = None, *, embedded: bool = False
    ) -> None:
        super().__init__()
        self.comparison: Comparison = comparison
        self._relabel, self._embedded = relabel, embedded
        self._look = Look()
        self._rows: list[ComparedRow] = []
        self._first = 0
        self._version = 0
        self._ask(Look())

    # -- what it is

    @property
    def frame(self) -> Any:
        """The rows of both, as a frame: see `Comparison.frame`."""
        return self.comparison.frame

    @property
    def test(self) -> Paired:
        """McNemar's exact test by the rows that have a label and both answers."""
        return self.comparison.test

    def __repr__(self) -> str:
        return repr(self.comparison)

    def _repr_html_(self) -> str:
        return self.static()

    def lines(self) -> Iterator[str]:
        """The comparison in a few lines of text."""
        return self.comparison.lines()

    def compare(self, comparison: Comparison) -> None:
        """Show another comparison in this one's place; the tab stays where it has rows."""
        with self.lock:
            tab = self._look.tab if comparison.tabs.get(self._look.tab) else "all"
            self.comparison = comparison
            self._ask(Look(tab))
        self.set_state()

    # -- what the browser knows

    def state(self) -> dict[str, Any]:
        with self.lock:
            comparison = self.comparison
            choices = comparison.field.choices or ()
            return {
                **figures(comparison),
                "columns": text_columns(comparison)[:MOST_TEXTS],
                "look": self._told(),
                "choices": [str(it) for it in choices[:9]] if self._relabel else [],
                "embedded": self._embedded,
            }

    def static(self) -> str:
        return static(self.comparison, self.static_class)

    def plain(self) -> str:
        return repr(self.comparison)

    @property
    def actions(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "look": self._on_look,
            "rows": self._on_rows,
            "row": self._on_row,
            "field": self._on_field,
            "label": self._on_label,
        }

    # -- what the browser asks

    def _ask(self, look: Look) -> None:
        self._look = look
        self._rows, self._first = ordered(self.comparison, look)
        self._version += 1

    def _told(self) -> dict[str, Any]:
        return {
            "version": self._version,
            "tab": self._look.tab,
            "cell": self._look.cell,
            "chip": self._look.words(self.comparison),
            "first": self._first,
            "count": len(self._rows),
            "lines": self._lines(0, FIRST_ROWS),
        }

    def _lines(self, start: int, count: int) -> list[dict[str, Any]]:
        names = text_columns(self.comparison)[:MOST_TEXTS]
        return lines_of(self.comparison, self._rows[start : start + count], names)

    def _on_look(self, tab: str = "all", cell: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._ask(Look(tab, cell))
        return self._told()

    def _on_rows(self, version: int, start: int, count: int = MOST_ROWS) -> dict[str, Any]:
        if version != self._version:
            return {"version": self._version, "lines": []}
        return {"version": version, "lines": self._lines(start, min(count, MOST_ROWS))}

    def _on_row(self, at: int) -> dict[str, Any]:
        return detail_of(self.comparison, self._row(at))

    def _row(self, at: int) -> ComparedRow:
        position = self.comparison.a.position
        return next(row for row in self.comparison.rows if position(row.at) == at)

    def _on_field(self, name: str) -> dict[str, Any]:
        self.comparison = self.comparison.of(name)
        self._ask(Look())
        return self.set_state()

    def _on_label(self, at: int, which: int) -> dict[str, Any]:
        """The row at `at` has the choice `which` as its label; its place in the table stays."""
        if self._relabel is None:
            raise ValueError("labels can't be given here")
        row, field = self._row(at), self.comparison.field
        order = {it.at: place for place, it in enumerate(self._rows)}
        value = (field.choices or ())[which]
        self.comparison = self._relabel({"at": row.at, "other": row.other}, field.name, value)
        kept = [it for it in self.comparison.rows if it.at in order]
        self._rows = sorted(kept, key=lambda it: order[it.at])
        self._version += 1
        return self.set_state()
