"""The table that the results view looks through: a run's rows, or those of any frame.

Nothing here knows of browsers or HTML. Columns are read when they are asked for, in steps of `STEP`
rows, so that a loop in another thread gets its turn between two of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from ...data import Frame, cell_name, wrap
from ...evaluation.evidence import MATCHES, row_match
from ...models import ZERO
from ...orchestration import Row
from ..ui import Pictures, clean, safe
from .column import ColumnIndex, value_text
from .corrections import Corrections

__all__ = ["EVIDENCE", "FACTS", "STATUSES", "STREAMED", "Head", "Results", "rows_of"]
__all__ += ["status_word"]

STATUSES = ("answered", "journal", "failed", "skipped", "not_run")
FACTS = ("status", "cost", "tokens", "latency", "attempts")
EVIDENCE = "evidence"  # the fact that there is of a run with evidence: how its worst quote matches
REVIEW = "review"  # the fact that there is once a row is labelled: right, corrected, filled in
STREAMED = "this run keeps no record of each row: its rows went on as they were answered"
STEP = 2_000  # rows read in one go: a few milliseconds
MOST_KEPT = 50_000_000  # characters of a column's texts that are kept for the next search
LONG = 60  # characters from which a column of a plain frame is judged as text
_WORDS = {"journal": "from journal", "not_run": "not run"}
_MARK = "\0"
_OF_RUN = ("answer", "evidence", "fact")


@dataclass(frozen=True, slots=True)
class Head:
    """A column. `role` is `label` (of the index), `text` (named by the prompt, or long), `input`,
    `answer`, `evidence` (of an answer) or `fact` (see `FACTS`); `choices` are those of its schema,
    in their order."""

    name: str
    role: str
    choices: tuple[Any, ...] | None = None


def status_word(status: str) -> str:
    """A status in words."""
    return _WORDS.get(status, status)


def rows_of(run: Any) -> list[Row | None] | None:
    """The records of a run's rows as they are now; None where the run keeps none."""
    rows = getattr(getattr(run.plan, "rowset", None), "rows", None)
    return None if rows is None or run.pipeline.frame is None else list(rows)


class Results:
    """A run's rows at one moment (rows that weren't read yet count as `not_run`), or a frame's.

    `heads` are all columns in the order in which they stand; `rows` the records of a run's rows.
    Where there are `corrections`, labels stand in the place of the answers that they are about.
    """

    def __init__(
        self,
        run: Any = None,
        *,
        frame: Any = None,
        name: str = "",
        corrections: Corrections | None = None,
    ) -> None:
        self.run = run
        self.corrections: Corrections | None = corrections
        known = rows_of(run) if run is not None else []
        self.streamed: bool = known is None
        self.rows: list[Row | None] = known or []
        self.name: str = run.name if run is not None else name
        self._frame = None if run is not None else wrap(frame, name or "frame")
        self.pictures: Pictures | None = (
            None if run is None or self.streamed else Pictures.of(run.pipeline)
        )
        self._indexes: dict[str, ColumnIndex] = {}
        self._texts: dict[str, list[str]] = {}
        self.heads: tuple[Head, ...] = ()
        self._by_name: dict[str, Head] = {}
        self.renewed: int = 0  # how often
        self.renew()

    def renew(self) -> None:
        """Read the answers anew: what was said of them has changed."""
        if self.streamed:
            return
        self.renewed += 1
        self.heads = tuple(self._heads())
        self._by_name = {head.name: head for head in reversed(self.heads)}
        for name in [*self._indexes]:
            if name not in self._by_name:
                del self._indexes[name]
            elif self._corrected(self._by_name[name]) is not None:
                before = self._indexes[name]
                values = self.values(name)
                self._indexes[name] = ColumnIndex(values, self.head(name).choices, like=before)
                self._texts.pop(name, None)

    def __len__(self) -> int:
        return len(self.rows) if self.run is not None else len(self.frame)

    @property
    def frame(self) -> Frame:
        """The frame that came in."""
        found: Frame = self.run.pipeline.frame if self._frame is None else self._frame
        return found

    def head(self, name: str) -> Head:
        """A column by its name; an answer goes before an input that is called alike."""
        try:
            return self._by_name[name]
        except KeyError:
            raise ValueError(f"there is no column {name!r} here") from None

    def named(self, *roles: str) -> tuple[Head, ...]:
        """The columns of these roles."""
        return tuple(head for head in self.heads if head.role in roles)

    # -- how the rows stand

    def status(self, position: int) -> str:
        """The status of the row at `position`; of a plain frame "answered"."""
        if self.run is None:
            return "answered"
        row = self.rows[position]
        return "not_run" if row is None else row.status

    def counts(self) -> dict[str, int]:
        """Rows by status, each of `STATUSES`."""
        found = Counter("not_run" if row is None else row.status for row in self.rows)
        return {status: found[status] for status in STATUSES}

    @cached_property
    def failed(self) -> list[int]:
        """The positions of the failed rows."""
        rows = enumerate(self.rows)
        return [at for at, row in rows if row is not None and row.status == "failed"]

    def failures(self) -> dict[str, list[int]]:
        """The positions of the failed rows by kind of error, the most frequent kind first."""
        kinds: dict[str, list[int]] = {}
        for at in self.failed:
            kinds.setdefault(self.reason(at)[0], []).append(at)
        return dict(sorted(kinds.items(), key=lambda kind: -len(kind[1])))

    def reason(self, position: int) -> tuple[str, str]:
        """Why a row failed: its kind and its message, both harmless; "" for a row that did not."""
        row = self.rows[position] if self.rows else None
        if row is None or row.failure is None:
            return "", ""
        return clean(row.failure.label, 40), safe(row.failure.message)

    def cost(self) -> Decimal | None:
        """USD that these rows cost; None where the price is unknown."""
        if self.run is None or not self.run.priced:
            return None
        return sum((row.cost for row in self.rows if row is not None), ZERO)

    def tokens(self) -> int:
        """The tokens of all rows' answers, input and output."""
        return sum(row.usage.total_tokens for row in self.rows if row is not None)

    # -- what is in them

    def index(self, name: str) -> ColumnIndex:
        """A column made ready to filter, sort and count by; kept."""
        if name not in self._indexes:
            head = self.head(name)
            self._indexes[name] = ColumnIndex(self.values(name), head.choices)
        return self._indexes[name]

    def values(self, name: str) -> list[Any]:
        """The values of one column, for every row."""
        head = self.head(name)
        if head.role in _OF_RUN:
            values = [self._own(row, head) for row in self.rows]
            for at, value in (self._corrected(head) or {}).items():
                values[at] = value
            return values
        steps = range(0, len(self), STEP)
        parts = (range(low, min(low + STEP, len(self))) for low in steps)
        if head.role == "label":
            at = self.named("label").index(head)
            return [labels[at] for part in parts for labels in self._labels(part)]
        read = self.frame.iter_rows([name], size=STEP)
        return self._named(head, [cells[0] for part in read for cells in part])

    def cells(self, positions: Sequence[int], names: Sequence[str]) -> list[list[Any]]:
        """The values of the named columns at `positions`."""
        heads = [self.head(name) for name in names]
        columns = [self._at(head, positions) for head in heads]
        return [list(cells) for cells in zip(*columns, strict=True)] or [[]] * len(positions)

    def _at(self, head: Head, positions: Sequence[int]) -> list[Any]:
        if head.role in _OF_RUN:
            said = self._corrected(head) or {}
            rows = ((at, self.rows[at]) for at in positions)
            return [said[at] if at in said else self._own(row, head) for at, row in rows]
        if head.role == "label":
            at = self.named("label").index(head)
            return [labels[at] for labels in self._labels(positions)]
        read = self.frame.iter_rows([head.name], size=STEP, positions=positions)
        return self._named(head, [cells[0] for part in read for cells in part])

    def has_pictures(self, head: Head) -> bool:
        """Whether the prompt takes what the column's cells lead to, not their text."""
        return self.pictures is not None and head.role == "text" and head.name in self.pictures

    def _named(self, head: Head, values: list[Any]) -> list[Any]:
        """The cells of a media column by what they are called: their bytes are no text."""
        if not self.has_pictures(head):
            return values
        return [cell_name(value) or None for value in values]

    def _labels(self, positions: Sequence[int]) -> list[tuple[Any, ...]]:
        if not self.frame.index_names:
            return [(at,) for at in positions]
        return self.frame.labels(positions)

    def word(self, position: int, name: str) -> str:
        """What a label says of an answer: right, corrected or filled in; "" without a label."""
        if self.corrections is None:
            return ""
        said = self.corrections.found.get(position, {}).get(name)
        return "" if said is None else said.word

    def _corrected(self, head: Head) -> dict[int, Any] | None:
        """What labels put in the place of a column's cells; None where they never do."""
        if self.corrections is None:
            return None
        found = self.corrections.found
        if head.role == "fact":
            word = self.corrections.word
            return {at: word(at) for at in found} if head.name == REVIEW else None
        if head.role != "answer":
            return None
        name = head.name
        return {at: said[name].value for at, said in found.items() if name in said}

    def _own(self, row: Row | None, head: Head) -> Any:
        """What a row's record has for a column that isn't of the input."""
        if head.name == REVIEW and head.role == "fact":
            return None
        if row is None:
            return "not_run" if head.name == "status" and head.role == "fact" else None
        if head.role in ("answer", "evidence"):
            return (row.outputs or {}).get(head.name)
        if head.name == EVIDENCE:
            return row_match(row.outputs or {}, self.run.pipeline.evidence)
        if head.name == "tokens":
            return row.usage.total_tokens
        if head.name == "cost" and not self.run.priced:
            return None
        return getattr(row, head.name)

    def _heads(self) -> Iterator[Head]:
        """Index, texts, answers, other inputs, facts."""
        names = self.frame.index_names or (unused("row", self.frame.columns),)
        yield from (Head(name, "label") for name in names)
        if self.run is None:
            long = _long(self.frame)
            yield from (Head(it, "text" if it in long else "input") for it in self.frame.columns)
            return
        new = {column.name: column for column in self.run.plan.columns}
        inputs = [name for name in self.frame.columns if name not in new]
        texts = [name for name in self.run.pipeline.template.columns if name in inputs]
        yield from (Head(name, "text") for name in dict.fromkeys(texts))
        proof = self.run.plan.evidence
        roles = {name: "evidence" if name in proof else "answer" for name in new}
        yield from (Head(it.name, roles[it.name], it.choices) for it in new.values())
        yield from (Head(name, "input") for name in inputs if name not in texts)
        taken = {*self.frame.columns, *new}
        if proof and EVIDENCE not in taken:
            yield Head(EVIDENCE, "fact", MATCHES)
        facts = (
            FACTS if self.corrections is None or not self.corrections.found else (REVIEW, *FACTS)
        )
        yield from (Head(name, "fact") for name in facts if name not in taken)

    # -- searching

    def search(self, needle: str, names: Sequence[str]) -> list[int]:
        """The positions of the rows that have `needle` in one of the columns, in any case."""
        sought = needle.casefold().replace(_MARK, " ")
        found: set[int] = set()
        for name in names:
            for start, joined in zip(range(0, len(self), STEP), self._joined(name), strict=False):
                found.update(start + at for at in hits_in(joined, sought))
        return sorted(found)

    def _joined(self, name: str) -> Iterable[str]:
        """For every `STEP` rows the texts of a column, joined; kept unless they are large."""
        if name in self._texts:
            return self._texts[name]
        values = self.values(name)
        joined = [joined_texts(values[low : low + STEP]) for low in range(0, len(values), STEP)]
        if sum(map(len, joined)) <= MOST_KEPT:
            self._texts[name] = joined
        return joined


def joined_texts(values: Sequence[Any]) -> str:
    """The texts of the values in small letters, with a mark between them."""
    plain = set(map(type, values)) == {str}
    texts = values if plain else ["" if it is None else value_text(it) for it in values]
    joined = _MARK.join(texts)
    if joined.count(_MARK) >= max(1, len(values)):  # a text has the mark in it
        joined = _MARK.join(text.replace(_MARK, " ") for text in texts)
    return joined.casefold()


def hits_in(joined: str, needle: str) -> list[int]:
    """The places of the texts that have `needle` in them."""
    if needle not in joined:
        return []
    return [at for at, text in enumerate(joined.split(_MARK)) if needle in text]


def unused(name: str, taken: Iterable[str]) -> str:
    """`name`, or the first of `name_`, `name__`, … that isn't taken."""
    while name in taken:
        name += "_"
    return name


def _long(frame: Frame) -> set[str]:
    """The columns that hold texts to be read, by their first rows; the longest where none does."""
    sample = next(iter(frame.iter_rows(frame.columns, size=50)), [])
    lengths: dict[str, float] = {}
    for at, name in enumerate(frame.columns):
        texts = [row[at] for row in sample if isinstance(row[at], str)]
        if texts:
            lengths[name] = sum(map(len, texts)) / len(texts)
    long = {name for name, length in lengths.items() if length >= LONG}
    return long or set(sorted(lengths, key=lambda name: -lengths[name])[:1])
