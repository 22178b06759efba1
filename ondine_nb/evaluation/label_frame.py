"""Labels as a frame, and a frame or file as labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, time
from itertools import chain
from pathlib import Path
from typing import Any

from ..data import Column, Frame, kind_of, open_source, records_frame, wrap
from ..errors import ColumnError, ConfigurationError, nearest
from ..prompts import Field
from ..text import as_text, is_missing
from .labels import Draw, Label, LabelSet, json_value, key_text, merged
from .values import typed

__all__ = ["RESERVED", "day", "labels_frame", "labels_in", "opened", "take_in"]

RESERVED = ("note", "reviewer", "at", "set")  # columns of a labels frame that are no field


NO_DRAW = Draw()


def labels_frame(
    kind: str,
    labels: Iterable[Label],
    fields: Sequence[Field] = (),
    on: Sequence[str] = (),
    sets: Sequence[str] | None = None,
) -> Any:
    """A frame of `kind`, "pandas" or "polars": one row for each reviewed content and reviewer.

    The key columns as text (`on` first), one column for each of `fields` and of what else was
    labelled, then `note`, `reviewer` and `at` (when it was last said, UTC). With `sets`, each
    label's set stands first. A key column that is called as one of the others gets `input_` before
    its name.
    """
    labels = list(labels)
    known = {field.name: field for field in fields}
    for name in dict.fromkeys(name for label in labels for name in label.fields):
        known.setdefault(name, Field(name, "json"))
    keys = dict.fromkeys([*on, *(name for label in labels for name in label.key)])
    taken = {*known, *RESERVED}
    columns = [] if sets is None else [Column("set", "str", list(sets))]
    for name in keys:
        values = [label.key.get(name) for label in labels]
        columns.append(Column(_free(name, taken), "str", values))
    columns += [_field_column(field, labels) for field in known.values()]
    columns += [
        Column("note", "str", [label.note for label in labels]),
        Column("reviewer", "str", [label.reviewer for label in labels]),
        Column("at", "datetime", [_moment(label.at) for label in labels]),
    ]
    return records_frame(kind, columns)


def labels_in(
    frame: Frame,
    on: Sequence[str],
    fields: Sequence[str] = (),
    reviewer: str = "reviewer",
    draw: Draw = NO_DRAW,
) -> list[Label]:
    """The labels that a frame holds: `on` names its key columns, `fields` those of labels.

    Without `fields`, every other column is one. Columns `reviewer` and `note` are taken as such;
    rows without a key or without any label are left out. Raises `ColumnError` for columns that
    the frame lacks.
    """
    for name in (*on, *fields):
        if name not in frame.columns:
            near = nearest(name, frame.columns)
            hint = f": did you mean {near!r}?" if near else f" ({', '.join(frame.columns)})"
            raise ColumnError(f"{frame.name} has no column {name!r}{hint}")
    fields = fields or [name for name in frame.columns if name not in (*on, *RESERVED)]
    if not fields:
        raise ColumnError(f"{frame.name} has no column but its key {list(on)}: which is the label?")
    extra = [name for name in ("note", "reviewer") if name in frame.columns and name not in on]
    found = []
    for cells in chain.from_iterable(frame.iter_rows([*on, *fields, *extra])):
        keys, rest = cells[: len(on)], cells[len(on) :]
        values = zip(fields, rest, strict=False)
        said = {name: day(value) for name, value in values if not is_missing(value)}
        told = dict(zip(extra, map(as_text, rest[len(fields) :]), strict=True))
        if said and not all(map(is_missing, keys)):
            named = (_bare(name, frame.columns, fields) for name in on)
            key = dict(zip(named, map(key_text, keys), strict=True))
            who, note = told.get("reviewer") or reviewer, told.get("note", "")
            found.append(Label(key, said, who, note, draw))
    return found


def take_in(labels: LabelSet, given: Sequence[Label]) -> int:
    """Keep the labels that say something new, in one write; gives how many did."""
    known = {(tuple(sorted(it.key.items())), it.reviewer): it for it in merged(labels.labels)}

    def new(label: Label) -> bool:
        before = known.get((tuple(sorted(label.key.items())), label.reviewer))
        if before is None:
            return True
        same = all(
            name in before.fields and before.fields[name] == json_value(value)
            for name, value in label.fields.items()
        )
        drawn = bool(label.draw.rows) and label.draw != before.draw
        return drawn or not same or label.note not in ("", before.note)

    return len(labels.add_all([label for label in given if new(label)]))


def opened(source: Any, name: str = "labels") -> Frame:
    """The frame of `source`: a frame, or the path of a CSV, Parquet or JSONL file.

    Raises `ConfigurationError` where there is none.
    """
    if isinstance(source, (str, Path)):
        found = open_source(str(source), name)
        chunks = [chunk.native for chunk in found.frames(5_000)]
        return wrap(found.whole(chunks or [found.empty().native]), name)
    if kind_of(source) is None:
        raise ConfigurationError(f"{name} is a {type(source).__name__}: give a frame or a file")
    return wrap(source, name)


def _field_column(field: Field, labels: Sequence[Label]) -> Column:
    """The labels of a field by its type; as JSON or text where some aren't of it."""
    raw = [label.fields.get(field.name) for label in labels]
    try:
        values = [typed(field, value) for value in raw]
    except ValueError:
        return Column(field.name, "str", [None if v is None else as_text(v) for v in raw])
    if field.kind == "json":
        return _plain_column(field.name, values)
    if field.kind != "choice":
        return Column(field.name, field.kind, values)
    choices = dict.fromkeys([*(field.choices or ()), *filter(None, values)])
    return Column(field.name, "choice", values, tuple(choices))


def _plain_column(name: str, values: list[Any]) -> Column:
    """A column of a field that no schema knows: of one scalar type, or of JSON."""
    kinds = {type(value) for value in values if value is not None}
    named = {str: "str", int: "int", float: "float", bool: "bool"}
    if kinds == {int, float}:
        kinds = {float}
    kind = named.get(kinds.pop(), "json") if len(kinds) == 1 else "json" if kinds else "str"
    return Column(name, kind, values)


def day(value: Any) -> Any:
    """A date that pandas holds as its midnight, as a date."""
    midnight = isinstance(value, datetime) and value.tzinfo is None and value.time() == time()
    return value.date() if midnight else value


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"input_{name}"
    taken.add(name)
    return name


def _bare(name: str, columns: Sequence[str], fields: Sequence[str]) -> str:
    """What a key column is called in the frame that was reviewed: see `labels_frame`."""
    bare = name.removeprefix("input_")
    return bare if bare in columns and bare in (*fields, *RESERVED) else name


def _moment(at: str) -> datetime | None:
    try:
        return datetime.fromisoformat(at)
    except ValueError:
        return None
