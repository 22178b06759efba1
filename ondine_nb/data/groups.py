"""Groups of a frame's rows: those with equal values in some columns, in the frame's order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from ..errors import ColumnError
from .columns import Column
from .frames import Frame, NativeFrame, _Reader, records_frame

__all__ = ["Groups"]


class Groups:
    """The rows of `frame` by equal values in the columns `by`: `members[i]` has the positions of
    those of group `i`, ascending, and each row is in exactly one.

    Groups stand in the order of their first rows; rows in which a value is missing are a group like
    any other. `heads` is a frame of the same kind with one row for each group and the columns `by`.
    Without columns all rows are one group. Raises `ColumnError` for an unknown or doubled column.
    """

    def __init__(self, frame: Frame, by: Sequence[str], members: list[list[int]]) -> None:
        self.frame = frame
        self.by: tuple[str, ...] = tuple(by)
        self.members = members
        firsts = [positions[0] for positions in members]
        self.heads: Frame = frame.picked(firsts, self.by) if by else _NoColumns(frame, len(firsts))

    @classmethod
    def of(cls, frame: Frame, by: Sequence[str]) -> Groups:
        """Read the columns and tell the rows apart."""
        doubled = next((name for name in by if list(by).count(name) > 1), None)
        if doubled is not None:
            raise ColumnError(f"--by names the column {doubled!r} twice: name it once")
        groups: dict[Hashable, list[int]] = {}
        position = 0
        for rows in frame.iter_rows(by, size=10_000):
            for cells in rows:
                groups.setdefault(_key(cells), []).append(position)
                position += 1
        return cls(frame, by, list(groups.values()))

    def __len__(self) -> int:
        return len(self.members)

    @property
    def rows(self) -> int:
        """How many rows there are in all groups."""
        return sum(map(len, self.members))

    def take(self, groups: Sequence[int]) -> Groups:
        """Only these groups, in that order, of the same frame."""
        return Groups(self.frame, self.by, [self.members[at] for at in groups])

    def name(self, group: int) -> str:
        """A group as a message calls it: `brand 'acme'`, or `all rows`."""
        if not self.by:
            return "all rows"
        (cells,) = next(self.heads.iter_rows(self.by, positions=[group]))
        return ", ".join(f"{name} {cell!r}" for name, cell in zip(self.by, cells, strict=True))


def _key(cells: tuple[Any, ...]) -> Hashable:
    try:
        hash(cells)
    except TypeError:  # a list or a dict in a cell
        return repr(cells)
    return cells


class _NoColumns(Frame):
    """One row that stands for all rows of `frame`, without a column; none of a frame of no rows.

    polars has no frame with rows and no columns, and pandas none that a reader of rows sees.
    """

    def __init__(self, frame: Frame, rows: int) -> None:
        self.kind = frame.kind  # type: ignore[misc]  # as the frame's, whichever that is
        self.name: str = frame.name
        self.columns: tuple[str, ...] = ()
        self._slots: dict[str, int] = {}
        self._of, self._rows = frame, rows
        self.native: NativeFrame = frame.native[[]]

    def __len__(self) -> int:
        return self._rows

    def take(self, positions: Sequence[int]) -> Frame:
        return _NoColumns(self._of, len(positions))

    def _extended(self, new: Sequence[Column]) -> NativeFrame:
        return records_frame(self.kind, new)

    def _snapshot(self, native: NativeFrame) -> NativeFrame:
        return native

    def _reader(self, slot: int) -> _Reader:
        raise IndexError(slot)  # there is no column

    def _taken(self, positions: list[int]) -> NativeFrame:
        return self.native

    def _of_columns(self, slots: list[int]) -> Frame:
        return self
