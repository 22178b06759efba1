"""Where the chunks of a stream go: a file, or one frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data import Column, Frame, Sink, joined, kind_of, open_target, records_frame
from ..models import Failure, RowCounts
from ..orchestration import NewColumn, Row, RowSet, RowStream

__all__ = ["Output", "count_rows", "errors_frame", "failures_of", "rows_frame"]


class Output:
    """What a run's chunks become; of a frame in memory nothing, its rows are recorded in place.

    `columns` are the new ones, `to` the path of a file. Without `keeps` the chunks are let go;
    with `reshaped` they are kept of a frame in memory too, since stages of the user's own have made
    something else of it.
    """

    def __init__(
        self,
        rowset: RowSet | RowStream,
        columns: Sequence[NewColumn],
        *,
        to: str | None,
        keeps: bool = True,
        reshaped: bool = False,
    ) -> None:
        self._rowset, self._columns = rowset, columns
        self._to = to
        self._sink: Sink | None = None
        self._keeps = keeps and to is None and (reshaped or isinstance(rowset, RowStream))
        self._chunks: list[Any] = []

    @property
    def data(self) -> Any:
        """The frame as far as it is there, or the path that a stream is written to.

        A list of what a stage of the user's own has made of each chunk, where that is no frame.
        """
        if self._to is not None and isinstance(self._rowset, RowStream):
            return Path(self._to)
        if not all(map(kind_of, self._chunks)):
            return list(self._chunks)
        if isinstance(self._rowset, RowStream):
            chunks = list(self._chunks) or [self._rowset.nothing(self._columns)]
            return self._rowset.source.whole(chunks)
        if self._chunks:
            return joined(self._chunks, in_one=False)
        return self._rowset.to_frame(self._columns)

    def write(self, chunk: Any) -> None:
        """Take the next chunk. Raises `RunError` where the file can't be written."""
        if self._to is not None:
            self._sink = self._sink or open_target(self._to, new=self._columns)
            self._sink.write(chunk)
        elif self._keeps:
            self._chunks.append(chunk)

    def close(self, *, failed: bool = False) -> None:
        """Finish the file; a run that was stopped before its first chunk leaves one without rows.

        A run that `failed` leaves what stood at the path before: its answers are in the journal.
        """
        if self._to is None:
            return
        if failed:
            if self._sink is not None:
                self._sink.discard()
            return
        if self._sink is None:
            self.write(self._rowset.nothing(self._columns))
        assert self._sink is not None
        self._sink.close()


def failures_of(rows: Sequence[Row | None]) -> list[Failure]:
    """Why the failed ones of `rows` failed."""
    return [row.failure for row in list(rows) if row is not None and row.failure is not None]


def count_rows(rows: Sequence[Row | None]) -> RowCounts:
    """`rows` by outcome; None is one that hasn't been read."""
    found = Counter("not_run" if row is None else row.status for row in list(rows))
    answered = found["answered"] + found["journal"]
    return RowCounts(found.total(), answered, found["journal"], found["failed"], found["skipped"])


def errors_frame(frame: Frame, failures: Sequence[Failure]) -> Any:
    """One line each: row (position), stage, error_type, message, attempts.

    Of a pandas `frame` it has the index of these rows.
    """
    records = records_frame(
        frame.kind,
        [
            Column("row", "int", [failure.row for failure in failures]),
            Column("stage", "str", [failure.stage for failure in failures]),
            Column("error_type", "str", [failure.error_type for failure in failures]),
            Column("message", "str", [failure.message for failure in failures]),
            Column("attempts", "int", [failure.attempts for failure in failures]),
        ],
    )
    return _labelled(frame, records, [failure.row for failure in failures])


def rows_frame(frame: Frame, rows: Sequence[Row | None], *, priced: bool) -> Any:
    """All of `rows`: row (position), status, cost (USD), tokens, latency (seconds), attempts.

    None is a row that hasn't been read; costs are missing where the price is unknown. Of a pandas
    `frame` it has the index of these rows.
    """
    known = [row or Row(at, (), {}) for at, row in enumerate(rows)]
    records = records_frame(
        frame.kind,
        [
            Column("row", "int", [row.position for row in known]),
            Column("status", "str", [row.status for row in known]),
            Column("cost", "float", [float(row.cost) if priced else None for row in known]),
            Column("tokens", "int", [row.usage.total_tokens for row in known]),
            Column("latency", "float", [row.latency for row in known]),
            Column("attempts", "int", [row.attempts for row in known]),
        ],
    )
    return _labelled(frame, records, [row.position for row in known])


def _labelled(frame: Frame, records: Any, positions: Sequence[int]) -> Any:
    """With the rows' index; a stream, whose rows aren't kept, has none."""
    kept = max(positions, default=-1) < len(frame)
    return frame.labelled(records, positions) if kept else records
