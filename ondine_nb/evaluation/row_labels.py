"""The labels of a frame's rows, found by content: whatever the order of the rows, or the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import Any

from ..data import Frame
from ..errors import ColumnError, nearest
from .labels import Draw, Label, LabelSet, key_text, merged

__all__ = ["RowLabels"]


class RowLabels:
    """The rows of `frame` and the labels of a set that are about them.

    `on` names the key columns of labels that are given from now on: the prompt's columns, say. A
    label is found by the columns that it was given with: each row that has these texts there has
    that label, so rows with equal texts share it. Raises `ColumnError` for a column that the frame
    lacks, and for none.
    """

    def __init__(self, labels: LabelSet, frame: Frame, on: Sequence[str]) -> None:
        self.labels: LabelSet = labels
        self.frame: Frame = frame
        self.on: tuple[str, ...] = tuple(on)
        if not on:
            raise ColumnError(f"labels need at least one column of {frame.name} to be known by")
        for column in on:
            if column not in frame.columns:
                near = nearest(column, frame.columns)
                hint = f"did you mean {near!r}?" if near else f"it has {list(frame.columns)}"
                raise ColumnError(f"{frame.name} has no column {column!r}: {hint}")
        self._places: dict[tuple[str, ...], dict[tuple[str, ...], list[int]]] = {}
        self._found: tuple[int, dict[int, list[Label]]] = (-1, {})

    def key(self, position: int) -> dict[str, str]:
        """What a label of the row at `position` is known by: the text of each key column."""
        (cells,) = chain.from_iterable(self.frame.iter_rows(self.on, positions=[position]))
        return dict(zip(self.on, map(key_text, cells), strict=True))

    def add(
        self,
        position: int,
        fields: Mapping[str, Any],
        *,
        reviewer: str = "reviewer",
        note: str = "",
        draw: Draw | None = None,
    ) -> Label:
        """Keep a label for the row at `position`, durably. Raises as `LabelSet.add`."""
        return self.labels.add(self.key(position), fields, reviewer=reviewer, note=note, draw=draw)

    def undo(self, label: Label, *, reviewer: str = "reviewer") -> None:
        """Take `label` back: what was said before it holds again."""
        self.labels.undo(label, reviewer=reviewer)

    def at(self, position: int) -> list[Label]:
        """The labels of the row at `position`, one for each reviewer, the last one last."""
        return sorted(merged(self.lines().get(position, [])), key=lambda label: label.order)

    def values(self, position: int) -> dict[str, tuple[Any, str]]:
        """The labelled fields of the row at `position`: the last value said, and who said it."""
        said = sorted(self.lines().get(position, []), key=lambda label: label.order)
        return {
            name: (value, label.reviewer) for label in said for name, value in label.fields.items()
        }

    def lines(self) -> dict[int, list[Label]]:
        """All labels that stand, by the position of each row that they are about."""
        version = self.labels.version
        if self._found[0] != version:
            found: dict[int, list[Label]] = {}
            for label in self.labels.labels:
                for position in self.positions(label):
                    found.setdefault(position, []).append(label)
            self._found = version, found
        return self._found[1]

    def positions(self, label: Label) -> Sequence[int]:
        """The rows that `label` is about, by position; none where the frame lacks its columns."""
        columns = tuple(sorted(label.key))
        if not set(columns) <= set(self.frame.columns):
            return []
        if columns not in self._places:
            self._places[columns] = self._read(columns)
        return self._places[columns].get(tuple(label.key[name] for name in columns), [])

    def _read(self, columns: tuple[str, ...]) -> dict[tuple[str, ...], list[int]]:
        found: dict[tuple[str, ...], list[int]] = {}
        numbers = count()
        for cells in chain.from_iterable(self.frame.iter_rows(columns)):
            found.setdefault(tuple(map(key_text, cells)), []).append(next(numbers))
        return found
