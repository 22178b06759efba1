"""What the row stages work on: the rows of a frame or of a stream, and their outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .frames import Column, Frame
from .rows import NewColumn, Row
from .sources import Source

__all__ = ["Intake", "RowSet"]

_CHUNK = 250
_MOST_KEPT = 10_000


class RowSet:
    """A frame and the outcome of each of its rows, in input order.

    `rows[i]` is the row at position `start + i`, or None while it hasn't been read. With `rerun`,
    only those positions are asked again, and the others keep their outcome. `when_done` is called
    with the set when every row has its outcome, or when the run stops.
    """

    def __init__(
        self,
        frame: Frame,
        rows: list[Row | None] | None = None,
        rerun: Sequence[int] | None = None,
        *,
        start: int = 0,
        when_done: Callable[[RowSet], None] | None = None,
    ) -> None:
        self.frame = frame
        self.rows: list[Row | None] = rows if rows is not None else [None] * len(frame)
        self.rerun = rerun
        self.start = start
        self.when_done = when_done
        self._whole: RowSet | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def asked(self) -> int:
        """How many rows are to be asked."""
        return len(self.rows if self.rerun is None else self.rerun)

    def any_answered(self) -> bool:
        """Whether any row has an answer."""
        return any(row is not None and row.outputs is not None for row in self.rows)

    def chunks(self, columns: Sequence[str] | None, size: int = _CHUNK) -> Iterator[list[Row]]:
        """The rows to be asked, in lists of at most `size`, with the values of `columns`."""
        named = list(self.frame.columns if columns is None else columns)
        names = {name: index for index, name in enumerate(named)}
        positions: Iterator[int] = iter(self.rerun if self.rerun is not None else range(len(self)))
        for values in self.frame.iter_rows(named, size=size, positions=self.rerun):
            chunk = [Row(self.start + next(positions), cells, names) for cells in values]
            for row in chunk:
                self.rows[row.position - self.start] = row
                if self._whole is not None:
                    self._whole.rows[row.position] = row
            yield chunk

    def parts(self, size: int) -> Iterator[RowSet]:
        """The same rows in sets of at most `size`, recorded here too; one set for no rows."""
        for low in range(0, max(1, len(self)), size):
            part = RowSet(self.frame.take(range(low, min(low + size, len(self)))), start=low)
            part._whole = self
            yield part

    def to_frame(self, columns: Sequence[NewColumn]) -> Any:
        """The input frame with these columns at its end, empty where a row has no answer."""
        rows = list(self.rows)
        return self.frame.with_columns([_column(rows, column) for column in columns])

    def nothing(self, columns: Sequence[NewColumn]) -> Any:
        """No rows, with all columns."""
        return RowSet(self.frame.take([])).to_frame(columns)


def _column(rows: Sequence[Row | None], column: NewColumn) -> Column:
    name = column.name
    values = [row.outputs.get(name) if row is not None and row.outputs else None for row in rows]
    return Column(name, column.kind, values, column.choices)


class Intake:
    """A source that is read part by part, and what is kept of its rows: the first failed ones."""

    rerun = None

    def __init__(self, source: Source) -> None:
        self.source = source
        self.failed: list[Row] = []

    def __len__(self) -> int:
        return self.source.rows or 0

    @property
    def rows(self) -> list[Row]:
        """The rows that there are records of: of a stream, those that failed (10,000 at most)."""
        return self.failed

    def any_answered(self) -> bool:
        """Never: a stream starts with no answers."""
        return False

    def parts(self, size: int) -> Iterator[RowSet]:
        """Sets of at most `size` rows in input order; one set for no rows."""
        start = 0
        for frame in self.source.frames(size):
            yield RowSet(frame, start=start, when_done=self._keep)
            start += len(frame)
        if start == 0:
            yield RowSet(self.source.empty())

    def _keep(self, part: RowSet) -> None:
        failed = [row for row in part.rows if row is not None and row.failure is not None]
        self.failed += failed[: _MOST_KEPT - len(self.failed)]

    def chunks(self, columns: Sequence[str] | None, size: int = _CHUNK) -> Iterator[list[Row]]:
        """All rows once, for an estimate; of what can be read only once, the first thousand."""
        if not self.source.repeatable:
            yield from RowSet(self.source.head(1000)).chunks(columns, size)
            return
        for part in self.parts(size):
            yield from part.chunks(columns, size)

    def to_frame(self, columns: Sequence[NewColumn]) -> Any:
        """No rows, with all columns: what there is of a stream without its chunks."""
        return RowSet(self.source.empty()).to_frame(columns)

    nothing = to_frame
