"""One row on its way through the row stages, and its record afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Protocol

from ..data import Column, Frame, Source
from ..errors import OndineError, RowError
from ..models import NO_USAGE, ZERO, Failure, Prompt, Usage

__all__ = [
    "AskAgain",
    "Halted",
    "NewColumn",
    "Row",
    "RowSet",
    "RowStream",
    "SetAside",
]


class NewColumn(Protocol):
    """What a row stage says of a column that it adds; `kind` as in `frames.Column`."""

    @property
    def name(self) -> str:
        """The column's name."""
        ...

    @property
    def kind(self) -> str:
        """The type of its cells."""
        ...

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """The values of a choice, in their order; None for other kinds."""
        ...


class Row:
    """One row on its way through the row stages, and its record afterwards.

    `position` counts from 0 in the input, `values` are the input columns that the stages asked
    for (by name: `row["text"]`), `outputs` the new cells by the names of columns that the stages
    declare in `produces`. `status` is one of `not_run answered journal failed skipped`; cost is in
    USD, `latency` in seconds of the answering request.
    """

    __slots__ = (
        "answer",
        "attempts",
        "cost",
        "failure",
        "latency",
        "names",
        "outputs",
        "passed_over",
        "position",
        "prompt",
        "question",
        "reasks",
        "sending",
        "settled",
        "status",
        "usage",
        "values",
    )

    def __init__(self, position: int, values: tuple[Any, ...], names: dict[str, int]) -> None:
        self.position: int = position
        self.values: tuple[Any, ...] = values
        self.names: dict[str, int] = names
        self.prompt: Prompt | None = None
        self.question: Any = None
        self.answer: Any = None
        self.outputs: dict[str, Any] = {}
        self.status: str = "not_run"
        self.passed_over: bool = False
        self.settled: bool = False  # no further stage is to see it
        self.failure: Failure | None = None
        self.cost: Decimal = ZERO
        self.usage: Usage = NO_USAGE
        self.latency: float | None = None
        self.attempts: int = 0
        self.reasks: int = 0
        self.sending: bool = False

    def __getitem__(self, name: str) -> Any:
        return self.values[self.names[name]]

    def pay(self, cost: Decimal, usage: Usage) -> None:
        """Add its share of an answer's cost, USD; of most rows' only answer it is that object."""
        self.cost = self.cost + cost if self.cost else cost
        self.usage = usage if self.usage is NO_USAGE else self.usage + usage

    def leave(self) -> None:
        """The run ends before this row has its outcome: what it has by now is none."""
        self.status, self.failure, self.outputs = "not_run", None, {}
        self.settled = self.passed_over

    def set_aside(self, reason: OndineError, stage: str) -> None:
        """It isn't run, and this is why; the others go on."""
        self.leave()
        self.failure = Failure(
            self.position, stage, type(reason).__name__, str(reason), self.attempts, "set aside"
        )

    def skip(self) -> None:
        """Nothing to ask: the row stays without an answer and costs nothing."""
        self.status, self.settled = "skipped", True

    def pass_over(self) -> None:
        """Not to be asked in this run, which goes on without it: the row stays `not_run`."""
        self.passed_over = self.settled = True

    def fail(self, error: BaseException, stage: str) -> None:
        """Keep `error` as this row's outcome."""
        label = getattr(error, "label", "failed")
        text = str(error) or type(error).__name__
        self.status, self.settled = "failed", True
        self.outputs = {}
        self.failure = Failure(
            self.position, stage, type(error).__name__, text, self.attempts, label
        )

    def release(self) -> None:
        """Drop what only the way needed, so that a million finished rows stay small."""
        if self.question is not None:
            self.question.release()
        self.values, self.prompt, self.question, self.answer = (), None, None, None


class AskAgain(Exception):  # noqa: N818 - a signal to the run loop, not an error of the user's
    """Sends a row back to an earlier row stage, as when an answer breaks its schema."""

    def __init__(self, stage: Any, reason: RowError) -> None:
        super().__init__(str(reason))
        self.stage = stage
        self.reason = reason


class Halted(Exception):  # noqa: N818 - a signal to the run loop, not an error of the user's
    """The run is stopping and this row would have to wait: it stays `not_run`."""


class SetAside(Exception):  # noqa: N818 - a signal to the run loop, not an error of the user's
    """This row can't be run, for a reason that leaves the others alone: it stays `not_run`."""

    def __init__(self, reason: OndineError) -> None:
        super().__init__(str(reason))
        self.reason = reason


_CHUNK = 250
_MOST_KEPT = 10_000


class RowSet:
    """A frame and the outcome of each of its rows, in input order.

    `rows[i]` is the row at position `start + i`, or None while it hasn't been read. With `rerun`,
    only those positions are asked again, and the others keep their outcome. `when_done` is called
    with the set when every row has its outcome, or when the run stops. `CHUNK` rows are prepared at
    once.
    """

    CHUNK: int = _CHUNK

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
        return any(row is not None and row.outputs for row in self.rows)

    def chunks(self, columns: Sequence[str] | None, size: int = _CHUNK) -> Iterator[list[Row]]:
        """The rows to be asked, in lists of at most `size`, with the values of `columns`."""
        named = list(self.frame.columns if columns is None else columns)
        names = {name: index for index, name in enumerate(named)}
        positions: Iterator[int] = iter(self.rerun if self.rerun is not None else range(len(self)))
        for values in self.frame.iter_rows(named, size=size, positions=self.rerun):
            numbered = zip(values, positions, strict=False)
            chunk = [Row(self.start + position, cells, names) for cells, position in numbered]
            for row in chunk:
                self.rows[row.position - self.start] = row
                if self._whole is not None:
                    self._whole.rows[row.position] = row
            yield chunk

    def split(self, size: int) -> Iterator[RowSet]:
        """The same rows in sets of at most `size`, recorded here too; one set for no rows."""
        for low in range(0, max(1, len(self)), size):
            chunk = RowSet(self.frame.take(range(low, min(low + size, len(self)))), start=low)
            chunk._whole = self
            yield chunk

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


class RowStream:
    """A source that is read chunk by chunk, and what is kept of its rows: the first failed ones."""

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

    def split(self, size: int) -> Iterator[RowSet]:
        """Sets of at most `size` rows in input order; one set for no rows."""
        start = 0
        for frame in self.source.frames(size):
            yield RowSet(frame, start=start, when_done=self._keep)
            start += len(frame)
        if start == 0:
            yield RowSet(self.source.empty())

    def _keep(self, chunk: RowSet) -> None:
        failed = [row for row in chunk.rows if row is not None and row.failure is not None]
        self.failed += failed[: _MOST_KEPT - len(self.failed)]

    def chunks(self, columns: Sequence[str] | None, size: int = _CHUNK) -> Iterator[list[Row]]:
        """All rows once, for an estimate; of what can be read only once, the first thousand."""
        if not self.source.repeatable:
            yield from RowSet(self.source.head(1000)).chunks(columns, size)
            return
        for chunk in self.split(size):
            yield from chunk.chunks(columns, size)

    def to_frame(self, columns: Sequence[NewColumn]) -> Any:
        """No rows, with all columns: what there is of a stream without its chunks."""
        return RowSet(self.source.empty()).to_frame(columns)

    nothing = to_frame
