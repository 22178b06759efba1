"""One side of a comparison: a name, what was asked, and the answers to the rows of a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any

from ...data import Frame, wrap
from ...errors import ColumnError, nearest
from ...evaluation import plain_settings
from ...orchestration import RowStream
from ...pipeline import JudgedRun, Options
from ...prompts import Field
from ...text import as_text
from ..ui import clean, safe

__all__ = ["Side", "frame_sides", "told_apart"]


@dataclass(frozen=True)
class Side:
    """The answers of one run or try: `answers` by field and position in `frame`, its input.

    `answered` says which rows have one, `reasons` why another has none, by position. `columns` are
    those that the prompt reads, `settings` what was asked, as `evaluation.plain_settings` gives it,
    `cost` is in USD, of all its answers (None: unknown). `positions` say where the rows stand in a
    larger frame that these are a sample of; without them they stand where they do in this one.
    """

    name: str
    frame: Frame
    fields: Sequence[Field]
    answers: Mapping[str, Sequence[Any]]
    answered: Sequence[bool]
    columns: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    cost: Decimal | None = None
    positions: Sequence[int] = ()

    @classmethod
    def of_run(cls, run: Any, judged: JudgedRun | None = None) -> Side:
        """The rows of a run as they are now. Raises `RunError` where they aren't in memory."""
        judged = judged or JudgedRun(run)
        pipeline, context = run.pipeline, run.context
        own = [it for it in judged.fields if it.name in pipeline.new_columns]
        return cls(
            clean(run.name, 40) or "run",
            judged.frame,
            own,
            judged.answers,
            judged.answered,
            tuple(pipeline.key_columns),
            _settings(run),
            _reasons(run),
            context.accumulated_cost + context.metrics.saved if run.priced else None,
        )

    @property
    def answered_rows(self) -> int:
        """How many rows have an answer."""
        return sum(self.answered)

    def position(self, at: int) -> int:
        """Where the row at `at` stands in the frame that was sampled."""
        return self.positions[at] if self.positions else at


def told_apart(one: Side, two: Side) -> tuple[Side, Side]:
    """Both sides, with names that differ."""
    if one.name != two.name:
        return one, two
    return replace(one, name=f"{one.name} A"), replace(two, name=f"{two.name} B")


def _settings(run: Any) -> dict[str, Any]:
    """What a run asked: its prompt, its model, and the options that aren't the usual ones."""
    asked, usual = (
        plain_settings({it.name: getattr(options, it.name) for it in fields(options)})
        for options in (run.pipeline.options, Options())
    )
    set_ones = {name: value for name, value in asked.items() if usual.get(name) != value}
    return {"prompt": run.pipeline.prompt, **set_ones, "model": run.model}


def _reasons(run: Any) -> dict[int, str]:
    rowset = run.plan.rowset
    if isinstance(rowset, RowStream):
        return {}
    return {
        at: clean(f"{row.failure.label}: {safe(row.failure.message)}", 200)
        for at, row in enumerate(list(rowset.rows))
        if row is not None and row.failure is not None
    }


# --- frames


def frame_sides(
    one: tuple[str, Any], two: tuple[str, Any], wanted: str | None, labels: str | None
) -> tuple[Side, Side]:
    """Both frames, by name and frame, as sides: their answers are the columns that differ.

    Frames of one length have the same rows in the same order. Of others the answers are the column
    `wanted` alone, and rows are known by what else both have. `labels` is no answer. Raises
    `ColumnError` where that leaves no answers.
    """
    a, b = wrap(one[1], one[0]), wrap(two[1], two[0])
    shared = [name for name in a.columns if name in b.columns and name != labels]
    if wanted is not None and wanted not in shared:
        near = nearest(wanted, shared)
        hint = f": did you mean {near!r}?" if near else f" ({', '.join(shared)})"
        raise ColumnError(f"{a.name} and {b.name} have no column {wanted!r} in common{hint}")
    if len(a) != len(b):
        if wanted is None:
            raise ColumnError(
                f"{a.name} has {len(a):,} rows and {b.name} {len(b):,}: say which column holds the "
                f"answers, field={shared[-1] if shared else 'NAME'!r}"
            )
        answers = [wanted]
    else:
        texts = [{name: _texts(frame, name) for name in shared} for frame in (a, b)]
        answers = [name for name in shared if texts[0][name] != texts[1][name]]
        answers += [wanted] if wanted is not None and wanted not in answers else []
    if not answers:
        raise ColumnError(f"{a.name} and {b.name} hold the same in every column that both have")
    columns = [name for name in shared if name not in answers]
    return _of_frame(a, answers, columns), _of_frame(b, answers, columns)


def _texts(frame: Frame, name: str) -> list[str]:
    return [as_text(cell) for cell in _cells(frame, name)]


def _cells(frame: Frame, name: str) -> list[Any]:
    return [cell for chunk in frame.iter_rows([name]) for (cell,) in chunk]


def _of_frame(frame: Frame, answers: Sequence[str], columns: Sequence[str]) -> Side:
    values = {name: _cells(frame, name) for name in answers}
    known = [Field(name, _kind(cells)) for name, cells in values.items()]
    cells = zip(*values.values(), strict=True)
    answered = [any(cell is not None and cell == cell for cell in row) for row in cells]
    return Side(clean(frame.name, 40), frame, known, values, answered, columns)


def _kind(values: Iterable[Any]) -> str:
    """The kind of a column by its values; what is nothing else is text."""
    kinds = {type(value) for value in values if value is not None and value == value}
    if kinds == {list}:
        return "list[str]"
    if kinds == {int, float}:
        return "float"
    named = {bool: "bool", int: "int", float: "float"}
    return named.get(kinds.pop(), "str") if len(kinds) == 1 else "str"
