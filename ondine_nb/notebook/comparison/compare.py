"""`ondine_nb.compare`: two runs, or two frames of answers, beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...data import frames_in, kind_of
from ...errors import ConfigurationError
from ...evaluation import Label, typed
from ...pipeline import JudgedRun, Run
from ...prompts import Field
from ..ui import names_here
from .comparison import Comparison
from .side import Side, frame_sides
from .view import ComparisonView

__all__ = ["compare", "reviewed"]


def compare(run_a: Any, run_b: Any, field: str | None = None, labels: Any = None) -> ComparisonView:
    """Compare two finished runs over the same rows: prompts, answers, and which is right.

    `labels` are as for `Run.score`: the name of a column, a Series with a value for each row of the
    first, a frame of labels, or None for those of review, of either run. `field` names the answer
    compared (default: the first with labels). In a notebook the comparison shows itself; its
    `frame` has the rows, its `test` the paired test (McNemar's, exact). Rows are known by what the
    prompts read, whatever their order; how many only one has is said.

    Two pandas or polars DataFrames can be given too: of one length they have the same rows in the
    same order, and the columns that differ are the answers; else `field` is.

    Raises `ConfigurationError` for anything else, `ColumnError` where they have no field or no row
    in common, and as `Run.score` for labels that can't be had.
    """
    runs = [it for it in (run_a, run_b) if isinstance(it, Run)]
    if len(runs) == 2:
        return _of_runs(run_a, run_b, field, labels)
    if not runs and kind_of(run_a) is not None and kind_of(run_b) is not None:
        return _of_frames(run_a, run_b, field, labels)
    kinds = f"{type(run_a).__name__} and {type(run_b).__name__}"
    raise ConfigurationError(
        f"compare takes two runs, or two frames, not {kinds}: the run of OUT is OUT_run"
    )


def _of_runs(run_a: Run, run_b: Run, field: str | None, labels: Any) -> ComparisonView:
    a, b = JudgedRun(run_a), JudgedRun(run_b)
    plain = Comparison(Side.of_run(run_a, a), Side.of_run(run_b, b), field=field)
    if labels is not None:
        return ComparisonView(plain.of(field, a.truths(field, labels)))

    def judged() -> Comparison:
        lines = b.rows.lines()
        theirs = {at: lines[other] for at, other in plain.pairs if other in lines}
        return plain.of(field, reviewed(plain.fields, len(a.frame), a.rows.lines(), theirs))

    def relabel(row: Mapping[str, int], name: str, value: Any) -> Comparison:
        b.rows.add(row["other"], {name: value})
        return judged().of(name)

    return ComparisonView(judged(), relabel)


def reviewed(
    fields: Iterable[Field], rows: int, *lines: Mapping[int, Sequence[Label]]
) -> dict[str, list[Any]]:
    """The last label of each field and row, of its type, of what reviewers said by position.

    Each of `lines` are the labels of a set: which is its last one no clock decides; of the last
    ones of several sets the later one holds. Fields without a label aren't there; a label that
    isn't of its field's type doesn't count.
    """
    found: dict[str, list[Any]] = {}
    for field in fields:
        for at in dict.fromkeys(at for each in lines for at in each):
            lasts = [_last(each.get(at, ()), field.name) for each in lines]
            said = sorted((it for it in lasts if it is not None), key=lambda label: label.at)
            if not said:
                continue
            try:
                value = typed(field, said[-1].fields[field.name])
            except ValueError:
                continue
            found.setdefault(field.name, [None] * rows)[at] = value
    return found


def _last(labels: Iterable[Label], field: str) -> Label | None:
    own = [label for label in labels if field in label.fields]
    return max(own, key=lambda label: label.order, default=None)


def _of_frames(one: Any, two: Any, field: str | None, labels: Any) -> ComparisonView:
    here = names_here()
    names = [
        next((name for name in frames_in(here) if here[name] is frame), usual)
        for frame, usual in ((one, "A"), (two, "B"))
    ]
    column = labels if isinstance(labels, str) else None
    a, b = frame_sides((names[0], one), (names[1], two), field, column)
    plain = Comparison(a, b, field=field)
    if labels is None:
        return ComparisonView(plain)
    if column is not None:
        values = [cell for chunk in a.frame.iter_rows([column]) for (cell,) in chunk]
    elif kind_of(labels) is None:
        values = _aligned(a, labels)
    else:
        raise ConfigurationError(
            "labels of two frames are a column's name or a Series with a value for each row"
        )
    known = plain.field
    return ComparisonView(plain.of(known.name, {known.name: [_typed(known, it) for it in values]}))


def _aligned(side: Side, labels: Any) -> list[Any]:
    try:
        return side.frame.align(labels)
    except TypeError:
        raise ConfigurationError(
            f"labels is a {type(labels).__name__}: give a column's name, or a Series with a value "
            "for each row"
        ) from None


def _typed(field: Field, value: Any) -> Any:
    try:
        return typed(field, value)
    except ValueError:
        return None
