"""A run beside the labels of its rows: the labels, the corrected result, and scores."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import Column, Frame, kind_of, wrap
from ..errors import ColumnError, ConfigurationError, RunError, nearest
from ..evaluation import (
    MODEL,
    RESERVED,
    Draw,
    LabelSet,
    Pair,
    Reviewed,
    RowLabels,
    Scores,
    ScoresByField,
    class_of,
    label_sets,
    labels_frame,
    labels_in,
    merged,
    opened,
    score_pairs,
    score_reviewed,
    take_in,
    typed,
)
from ..evaluation.evidence import worst
from ..evaluation.scores import MatchScore, by_match
from ..journal import Journal, home
from ..orchestration import RowStream
from ..prompts import Field

if TYPE_CHECKING:
    from .run import Run

__all__ = ["JudgedRun", "labels"]

logger = logging.getLogger("ondine_nb.labels")


class JudgedRun:
    """The rows of a run as they are now, with the labels of its set (its name's).

    `frame` are the input's rows, `fields` the new columns, `answers` their values by name and
    position, `answered` which rows have an answer. `rows` finds and takes labels by position; new
    ones are known by the columns `on`, at first the prompt's. Raises `RunError` for a run whose
    rows aren't in memory, `ColumnError` for a column that they lack.
    """

    def __init__(self, run: Run, on: Sequence[str] | str | None = None) -> None:
        self.run = run
        self.fields: list[Field] = [Field(it.name, it.kind, it.choices) for it in run.plan.columns]
        rowset = run.plan.rowset
        self.frame: Frame
        self._outputs: list[Mapping[str, Any]] | None
        if isinstance(rowset, RowStream):
            self.frame, self._outputs = self._streamed(), None
        else:
            rows = list(rowset.rows)
            self.frame = run.pipeline.frame
            self._outputs = [{} if row is None else row.outputs for row in rows]
        columns = run.pipeline.key_columns if on is None else on
        self.on: tuple[str, ...] = (columns,) if isinstance(columns, str) else tuple(columns)
        labels = LabelSet(run.name, run.pipeline.journal.folder)
        self.rows: RowLabels = RowLabels(labels, self.frame, self.on)

    @cached_property
    def answers(self) -> dict[str, list[Any]]:
        """The values of the new columns, by name and position."""
        names = [field.name for field in self.fields]
        if self._outputs is None:
            return _columns(self.frame, names)
        return {name: [row.get(name) for row in self._outputs] for name in names}

    @cached_property
    def answered(self) -> list[bool]:
        """Which rows have an answer."""
        if self._outputs is not None:
            return list(map(bool, self._outputs))
        cells = zip(*self.answers.values(), strict=True)
        return [any(cell is not None for cell in row) for row in cells]

    def matches(self, name: str | None = None) -> list[str | None]:
        """How each row's evidence matches: that of a field, or the worst of all; None without."""
        fields = [name] if name is not None else self.run.pipeline.evidence
        cells = [self.answers.get(f"{field}_evidence_match") for field in fields]
        rows = zip(*filter(None, cells), strict=True)
        return [worst(row) for row in rows] or [None] * len(self.frame)

    def _streamed(self) -> Frame:
        found = self.run.frame
        if kind_of(found) is None:
            raise RunError(
                f"the rows of this run are not in memory, they went to {found}: read them, and "
                "run the prompt over that frame (its answers come from the journal)"
            )
        return wrap(found, self.run.source)

    def field(self, name: str) -> Field:
        """The new column of that name. Raises `ColumnError` where there is none."""
        known = {field.name: field for field in self.fields}
        if name not in known:
            near = nearest(name, known)
            hint = f": did you mean {near!r}?" if near else f" ({', '.join(known)})"
            raise ColumnError(f"{self.run.name} has no field {name!r}{hint}")
        return known[name]

    def answer(self, position: int) -> dict[str, Any]:
        """The values of the new columns of the row at `position`; empty for one without answer."""
        if self._outputs is not None:
            found = self._outputs[position]
            return {it.name: found.get(it.name) for it in self.fields} if found else {}
        if not self.answered[position]:
            return {}
        return {name: values[position] for name, values in self.answers.items()}

    # -- frames

    def labels(self) -> Any:
        """`Run.labels`."""
        own = [field for field in self.fields if field.name in self.run.pipeline.new_columns]
        return labels_frame(self.frame.kind, merged(self.rows.labels.labels), own, self.on)

    def corrected(self, *, sources: bool = True) -> Any:
        """`Run.corrected`; without `sources` as the result itself, with the labels put in."""
        said = {position: self.rows.values(position) for position in self.rows.lines()}
        labelled = {name for values in said.values() for name in values}
        columns = []
        for field in self.fields:
            if field.name in labelled or field.name in self.run.pipeline.new_columns:
                columns += self._corrected(field, said)
        if not sources:
            return self._result().with_columns(columns[::2])
        named = {column.name for column in columns[1::2]}
        if taken := sorted(named & {*self.frame.columns, *self.answers}):
            raise ColumnError(f"{self.frame.name} has a column {taken[0]!r} already: rename it")
        return self._result().with_columns(columns)

    def _corrected(
        self, field: Field, said: Mapping[int, Mapping[str, tuple[Any, str]]]
    ) -> list[Column]:
        """A field with its labels put in, and who each value is from."""
        values = list(self.answers[field.name])
        sources = [MODEL if answered else None for answered in self.answered]
        for position, labels in said.items():
            if field.name not in labels:
                continue
            value, reviewer = labels[field.name]
            try:
                values[position], sources[position] = typed(field, value), reviewer
            except ValueError as error:
                line = "%s row %d: the label of %s by %s is left out: %s"
                logger.warning(line, self.run.name, position, field.name, reviewer, error)
        choices = field.choices
        if choices is not None:
            others = (value for value in values if value is not None)
            choices = tuple(dict.fromkeys([*choices, *others]))
        return [
            Column(field.name, field.kind, values, choices),
            Column(f"{field.name}_source", "str", sources),
        ]

    def _result(self) -> Frame:
        """The result; where stages of the user's own have made other rows, the input."""
        rowset, found = self.run.plan.rowset, self.run.frame
        if kind_of(found) is None or len(found) != len(self.frame):
            assert not isinstance(rowset, RowStream)
            found = rowset.to_frame(self.run.plan.columns)
        return wrap(found, self.run.name)

    # -- scores

    def score(self, field: str | None, labels: Any) -> Scores | dict[str, Scores]:
        """`Run.score`."""
        if labels is None:
            return self._by_review(field)
        truths, how = self._given(field, labels)
        found = {name: self._by_column(name, column, how) for name, column in truths.items()}
        return _one_or_all(found, whole=field is None and kind_of(labels) is not None)

    def truths(self, field: str | None, labels: Any) -> dict[str, list[Any]]:
        """Labels that aren't those of review, by field and position, of the field's type.

        `field` and `labels` are as for `Run.score`; None where a row has no label.
        """
        given, _ = self._given(field, labels)
        return {name: _Notes().column(self.field(name), it) for name, it in given.items()}

    def _given(self, field: str | None, labels: Any) -> tuple[dict[str, list[Any]], str]:
        """Labels that aren't those of review: a value for each row by field, and whose they are."""
        if isinstance(labels, str):
            return {self._only(field, labels): self._column(labels)}, f"by the column {labels!r}"
        if kind_of(labels) is not None:
            return self._of_frame(field, wrap(labels, "labels")), "by the frame of labels"
        try:
            name = getattr(labels, "name", None)
            named = name if field is None and name in self.answers else field
            return {self._only(named, "labels"): self.frame.align(labels)}, "by the labels given"
        except TypeError:
            raise ConfigurationError(
                f"labels is a {type(labels).__name__}: give a column's name, a Series with a value "
                "for each row, or a frame of labels"
            ) from None

    def _only(self, field: str | None, labels: str) -> str:
        """The field that one column of labels is about."""
        own = self.run.pipeline.new_columns
        if field is None and len(own) > 1:
            raise ColumnError(
                f"which field has its labels in {labels!r}? Say score({own[0]!r}, labels=…); "
                f"{self.run.name} has {', '.join(own)}"
            )
        return self.field(own[0] if field is None else field).name

    def _column(self, name: str) -> list[Any]:
        for frame in (self.frame, self._result()):
            if name in frame.columns:
                return _columns(frame, [name])[name]
        near = nearest(name, self.frame.columns)
        hint = f": did you mean {near!r}?" if near else f" ({', '.join(self.frame.columns)})"
        raise ColumnError(f"{self.frame.name} has no column {name!r} to take as labels{hint}")

    def _of_frame(self, field: str | None, given: Frame) -> dict[str, list[Any]]:
        """A frame of labels: by its key columns, or where it has none by position or index."""
        named = [name for name in given.columns if name in self.answers]
        fields = named if field is None else [self.field(field).name]
        if not fields or not set(fields) <= set(given.columns):
            wanted = field or ", ".join(self.answers)
            raise ColumnError(
                f"the frame of labels has no column {wanted!r} ({', '.join(given.columns)}): call "
                "the column of labels as the field"
            )
        shared = [
            name
            for name in self.frame.columns
            if name in given.columns and name not in (*self.answers, *RESERVED)
        ]
        on = [name for name in self.on if name in shared] or shared
        if on:
            return self._matched(given, on, fields)
        return {name: self.frame.align(given.native[name]) for name in fields}

    def _matched(
        self, given: Frame, on: Sequence[str], fields: Sequence[str]
    ) -> dict[str, list[Any]]:
        """The labels of a frame at the rows that have the same content; the last one holds."""
        truths: dict[str, list[Any]] = {name: [None] * len(self.frame) for name in fields}
        finder = RowLabels(self.rows.labels, self.frame, on)
        for label in labels_in(given, on, fields):
            for position in finder.positions(label):
                for name, value in label.fields.items():
                    truths[name][position] = value
        return truths

    def served(self, positions: Sequence[int]) -> set[int]:
        """Those of the rows that examples were made of, or that are nearly equal to one.

        No score is taken on a row that was shown.
        """
        examples, columns = self.run.pipeline.examples, self.run.pipeline.template.columns
        if examples is None:
            return set()
        cells = chain.from_iterable(self.frame.iter_rows(columns, positions=positions))
        found = zip(positions, examples.served(cells), strict=True)
        return {position for position, served in found if served}

    def _by_column(self, name: str, column: Sequence[Any], how: str) -> Scores:
        field, notes = self.field(name), _Notes()
        known = notes.column(field, column)
        labelled = [(at, truth) for at, truth in enumerate(known) if truth is not None]
        if not labelled:
            raise ColumnError(f"no row of {self.run.name} has a label of {name!r} {how}")
        served = self.served([at for at, _ in labelled])
        scope = f"{len(labelled):,} of {len(column):,} rows are labelled, {how}"
        labelled = [(at, truth) for at, truth in labelled if at not in served]
        notes.served, notes.scored = len(served), len(labelled)
        pairs = [Pair(truth, self.answers[name][at]) for at, truth in labelled if self.answered[at]]
        scores = score_pairs(field, pairs)
        unanswered = len(labelled) - len(pairs)
        told = {"scope": scope, "unanswered": unanswered, "notes": (*notes.lines(), *scores.notes)}
        found = score_pairs(field, pairs, **told)
        return replace(found, by_match=self._by_match(field, labelled))

    def _by_review(self, field: str | None) -> Scores | dict[str, Scores]:
        lines = self.rows.lines()
        there = {name for labels in lines.values() for label in labels for name in label.fields}
        named = [it.name for it in self.fields if it.name in there]
        fields = named if field is None else [self.field(field).name]
        if not set(fields) & there:
            what = "nothing" if field is None else f"no {field!r}"
            elsewhere = len(self.rows.labels) if not lines else 0
            hint = f"; {elsewhere:,} labels of this set are about other content" * bool(elsewhere)
            raise ColumnError(
                f"{what} is labelled yet in the rows of {self.run.name}{hint}. Review some rows "
                "with run.review(), or give labels="
            )
        found = {name: self._by_reviewed(name) for name in fields}
        return _one_or_all(found, whole=field is None)

    def _by_reviewed(self, name: str) -> Scores:
        """Each label counts once, however many rows have its content: unless they have answers
        that differ."""
        field, notes = self.field(name), _Notes()
        units: dict[tuple[str, str, bool], Reviewed] = {}
        places: dict[tuple[str, str, bool], tuple[int, Any]] = {}
        lines = self.rows.lines()
        about = [at for at, labels in lines.items() if any(name in it.fields for it in labels)]
        served = self.served(about)
        notes.served, notes.scored = len(served), len(about) - len(served)
        for position, labels in sorted(lines.items()):
            if position in served:
                continue
            own = sorted((it for it in labels if name in it.fields), key=lambda it: it.order)
            if not own:
                continue
            try:
                truth = typed(field, own[-1].fields[name])
            except ValueError as error:
                notes.leave_out(error)
                continue
            notes.look(field, truth)
            answer, answered = self.answers[name][position], self.answered[position]
            unit = Reviewed(truth, answer, answered, frozenset(label.draw for label in own))
            unit_of = (own[-1].id, class_of(answer), answered)
            units.setdefault(unit_of, unit)
            places.setdefault(unit_of, (position, truth))
        found = score_reviewed(field, list(units.values()), len(self.frame), notes.lines())
        return replace(found, by_match=self._by_match(field, places.values()))

    def _by_match(
        self, field: Field, labelled: Iterable[tuple[int, Any]]
    ) -> Mapping[str, MatchScore]:
        """How right the labelled rows (position, truth) are, by how their evidence matches."""
        if field.name not in self.run.pipeline.evidence:
            return {}
        matches, answers = self.matches(field.name), self.answers[field.name]
        return by_match(
            field,
            [
                (matches[at], Pair(truth, answers[at]))
                for at, truth in labelled
                if self.answered[at]
            ],
        )


class _Notes:
    """What to say of labels that don't fit their field."""

    def __init__(self) -> None:
        self._left_out: list[str] = []
        self._strange: dict[str, int] = {}
        self.served = self.scored = 0

    def column(self, field: Field, values: Iterable[Any]) -> list[Any]:
        """Labels by the field's type; None where there is none."""
        return [self.read(field, value) for value in values]

    def read(self, field: Field, value: Any) -> Any:
        """A label by the field's type; None where it has none, or isn't of it."""
        try:
            found = typed(field, value)
        except ValueError as error:
            self.leave_out(error)
            return None
        if field.kind == "str" and found == "":
            return None
        self.look(field, found)
        return found

    def look(self, field: Field, truth: Any) -> None:
        """Take note of a choice that the model couldn't have made."""
        if field.choices and truth is not None and class_of(truth) not in field.choices:
            self._strange[class_of(truth)] = self._strange.get(class_of(truth), 0) + 1

    def leave_out(self, error: ValueError) -> None:
        """Take note of a label that isn't of the field's type."""
        self._left_out.append(str(error))

    def lines(self) -> tuple[str, ...]:
        """A line for each kind of trouble."""
        lines = []
        if self.served:
            rows = "1 labelled row" if self.served == 1 else f"{self.served:,} labelled rows"
            lines.append(
                f"{rows} served as examples or are nearly equal to one, and don't count: "
                f"{self.scored:,} are scored"
            )
        if self._left_out:
            rest = f" (and {len(self._left_out) - 1:,} more)" * (len(self._left_out) > 1)
            lines.append(f"Not of the field's type, so left out: {self._left_out[0]}{rest}")
        if self._strange:
            named = [f"{name!r} ({count:,})" for name, count in self._strange.items()]
            more = ", …" * (len(named) > 5)
            lines.append(
                f"Labels that are none of the schema's choices: {', '.join(named[:5])}{more}"
            )
        return tuple(lines)


def labels(
    source: Any,
    *,
    into: str | None = None,
    on: Sequence[str] | str | None = None,
    reviewer: str = "reviewer",
    drawn_from: int = 0,
    journal: Journal | Path | str | None = None,
) -> Any:
    """The labels of a set, as a frame: one row for each reviewed content and reviewer.

    `source` is a set's name, by default a run's; or a frame: then the labels of its rows in all
    sets, with the column `set`. With `into`, the labels that a frame or the path of a CSV, Parquet
    or JSONL file holds are kept in the set of that name first: `on` names the columns that they
    are known by (default: those of the labels that are there), `reviewer` who gave them where no
    column says so, and every other column is a field but `note`; `drawn_from` says that chance drew
    these rows from that many, so that scores speak for all of them. What is there already isn't
    kept twice. `journal` is the folder (default: `.ondine/`). Export the frame with its own
    `to_csv` or `write_csv`.

    Raises `ConfigurationError` for a set that isn't there, with the names of those that are.
    """
    folder = journal.folder if isinstance(journal, Journal) else Path(journal or home())
    if into is not None:
        frame = opened(source)
        kept = LabelSet(into, folder)
        named = (on,) if isinstance(on, str) else tuple(on or _key_of(kept))
        draw = Draw("random", "", drawn_from) if drawn_from else Draw()
        take_in(kept, labels_in(frame, named, reviewer=reviewer, draw=draw))
        kind = frame.kind if kind_of(source) is not None else _kind_here()
        return labels_frame(kind, merged(kept.labels), on=named)
    if kind_of(source) is not None:
        return _of_rows(wrap(source, "frame"), folder)
    names = label_sets(folder)
    if source not in names:
        near = nearest(str(source), names)
        there = f"; there are {', '.join(names)}" if names else ", nor of any other"
        hint = f": did you mean {near!r}?" if near else there
        raise ConfigurationError(f"there are no labels of {source!r}{hint}")
    return labels_frame(_kind_here(), merged(LabelSet(source, folder).labels))


def _kind_here() -> str:
    """The kind of frame where none is given: polars where pandas isn't in use."""
    return "polars" if "polars" in sys.modules and "pandas" not in sys.modules else "pandas"


def _key_of(kept: LabelSet) -> list[str]:
    """The columns that the labels of a set are known by."""
    there = kept.labels
    if not there:
        raise ConfigurationError(
            f"{kept.name} has no labels yet: say which columns these are known by, on=['text']"
        )
    return list(there[-1].key)


def _of_rows(frame: Frame, folder: Path) -> Any:
    """The labels that are about rows of `frame`, of all sets."""
    found, sets = [], []
    for name in label_sets(folder):
        rows = RowLabels(LabelSet(name, folder), frame, frame.columns[:1])
        lines = {label.id: label for labels in rows.lines().values() for label in labels}
        own = merged(lines.values())
        found += own
        sets += [name] * len(own)
    return labels_frame(frame.kind, found, sets=sets)


def _one_or_all(found: dict[str, Scores], *, whole: bool) -> Scores | dict[str, Scores]:
    """The scores of the only field; of several, where none was named, a dict by field."""
    return ScoresByField(found) if whole and len(found) > 1 else next(iter(found.values()))


def _columns(frame: Frame, names: Sequence[str]) -> dict[str, list[Any]]:
    rows = [row for chunk in frame.iter_rows(names) for row in chunk]
    return {name: [row[at] for row in rows] for at, name in enumerate(names)}
