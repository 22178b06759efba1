"""What a run reads from: frames of a fixed size in input order, of data that needn't fit in memory.

`Source` is the face. `FrameSource` stands on a frame in memory; `FrameBlocks` on whatever gives
blocks of rows, of any lengths, one after another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ..errors import ConfigurationError, RunError
from .columns import Kind
from .frames import Frame, NativeFrame, kind_of, wrap

__all__ = ["BLOCK_ROWS", "FrameBlocks", "FrameSource", "Source", "joined", "recast"]

BLOCK_ROWS = 5_000  # read at once from a file: costs little a row, and stays small in memory


def joined(chunks: Sequence[NativeFrame], *, in_one: bool) -> NativeFrame:
    """Native frames of one kind below each other; with `in_one`, pandas counts their rows anew."""
    if kind_of(chunks[0]) == "polars":
        import polars as pl

        return pl.concat(chunks)
    import pandas as pd

    return pd.concat(chunks, ignore_index=in_one)


class Source(ABC):
    """Rows to run over. `name` is what messages call it, `columns` the columns' names as text.

    `kind` is the library, "pandas" or "polars", of the frames that come out. `rows` is how many
    rows there are, None where only reading them all would tell. A source that isn't `repeatable`
    gives its frames once.
    """

    name: str
    columns: tuple[str, ...]
    kind: str
    rows: int | None
    repeatable: bool

    @abstractmethod
    def frames(self, size: int) -> Iterator[Frame]:
        """Frames of exactly `size` rows, the last of what is left, in input order; none for none.

        Raises ConfigurationError, at the call, for a size below 1 and for a second reading of
        what can be read once; RunError, on the way, where the data can't be read further.
        """

    @abstractmethod
    def head(self, n: int) -> Frame:
        """The first `n` rows, or all if there are fewer; `frames` gives them again."""

    def look(self) -> Frame:
        """What is there without reading on: all of a frame in memory, of a stream often no rows."""
        return self.empty()

    @abstractmethod
    def empty(self) -> Frame:
        """No rows, all columns with their dtypes."""

    def whole(self, chunks: Sequence[NativeFrame]) -> Any:
        """What the chunks of a run over it become: one frame, of one of them at least."""
        return joined(chunks, in_one=True)


class FrameSource(Source):
    """A `Source` on a frame in memory; its snapshot, so later changes to the object don't show."""

    repeatable: bool = True

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.name: str = frame.name
        self.columns: tuple[str, ...] = frame.columns
        self.kind: str = frame.kind
        self.rows: int = len(frame)

    def frames(self, size: int) -> Iterator[Frame]:
        _check_size(size)
        starts = range(0, self.rows, size)
        return (self.frame.take(range(at, min(at + size, self.rows))) for at in starts)

    def head(self, n: int) -> Frame:
        return self.frame.take(range(min(max(n, 0), self.rows)))

    def look(self) -> Frame:
        return self.frame

    def empty(self) -> Frame:
        return self.frame.take([])


class FrameBlocks(Source):
    """A `Source` on blocks of rows: native frames of one kind, one set of dtypes, any lengths.

    `blocks` begins a reading; it is called once if the stream isn't `repeatable`. `empty` is a
    block without rows, `first` rows that are there already; with `kinds` all of them are as
    `native_rows` makes them. What `head` has read is kept and read
    on by the next `frames`, so that a plan isn't run, nor a generator used up, for a look at its
    first rows.
    """

    def __init__(
        self,
        name: str,
        empty: NativeFrame,
        blocks: Callable[[], Iterable[NativeFrame]],
        *,
        rows: int | None = None,
        repeatable: bool = True,
        first: NativeFrame = None,
        kinds: Mapping[str, Kind] | None = None,
    ) -> None:
        frame = wrap(empty, name, kinds)
        self._kinds = kinds
        self.name: str = name
        self.columns: tuple[str, ...] = frame.columns
        self.kind: str = frame.kind
        self.rows: int | None = rows
        self.repeatable: bool = repeatable
        self._nothing = empty
        self._first = empty if first is None else first
        self._blocks = blocks
        self._seen: list[NativeFrame] = []  # the blocks that `head` has read
        self._reading: Iterator[NativeFrame] | None = None  # where they came from
        self._ended = False  # whether `_seen` is all there is
        self._used = False

    def frames(self, size: int) -> Iterator[Frame]:
        _check_size(size)
        self._check_unused()
        self._used = True
        blocks = chain(self._seen, self._begun())
        self._reading = None
        if self.repeatable:
            self._seen, self._ended = [], False
        return (wrap(native, self.name, self._kinds) for native in _sized(blocks, size))

    def head(self, n: int) -> Frame:
        while sum(map(len, self._seen)) < n and not self._ended:
            self._check_unused()
            self._reading = self._begun()
            block = next(self._reading, None)
            self._seen += [] if block is None else [block]
            self._ended = block is None
        rows = _sized([self._nothing, *self._seen], max(n, 0) or 1)
        found = next(rows, self._nothing) if n > 0 else self._nothing
        return wrap(found, self.name, self._kinds)

    def look(self) -> Frame:
        return wrap(self._first, self.name, self._kinds)

    def empty(self) -> Frame:
        return wrap(self._nothing, self.name, self._kinds)

    def _begun(self) -> Iterator[NativeFrame]:
        """The reading that is under way, or a new one."""
        return iter(self._blocks()) if self._reading is None else self._reading

    def _check_unused(self) -> None:
        if self._used and not self.repeatable:
            raise ConfigurationError(
                f"{self.name} can be read once, and it was: make it anew, or give a list or a frame"
            )


def _rows_at(native: NativeFrame, start: int, count: int) -> NativeFrame:
    """The rows of a native frame from position `start` on, `count` at most."""
    by_position: Any = getattr(native, "iloc", native)  # pandas' own [] may go by label
    return by_position[start : start + count]


def _joined(parts: list[NativeFrame]) -> NativeFrame:
    """Native frames of one kind and the same dtypes, one below the other."""
    if len(parts) == 1:
        return parts[0]
    if kind_of(parts[0]) == "pandas":
        import pandas as pd

        return pd.concat(parts)
    import polars as pl

    return pl.concat(parts)


def recast(native: NativeFrame, like: NativeFrame, called: str) -> NativeFrame:
    """A native frame with the dtypes of `like`, which has the same columns.

    Raises RunError, which names the column of what is `called` so, where that would change a value.
    """
    if list(native.dtypes) == list(like.dtypes):
        return native
    library = "pandas" if kind_of(native) == "pandas" else "polars"
    changed: dict[str, Any] = {}
    for column in native.columns:
        part, dtype = native[column], like[column].dtype
        if part.dtype != dtype:
            made = changed[str(column)] = _recast_column(library, part, dtype)
            if made is None:
                raise RunError(
                    f"{called}: column {column!r} is {part.dtype}, and doesn't fit into {dtype}, "
                    "which it was at first: give it the same dtype throughout"
                )
    if library == "pandas":
        return native.assign(**changed)
    return native.with_columns(**changed)


def _recast_column(library: str, part: Any, dtype: Any) -> Any:
    """A pandas or polars Series with another dtype; None if that would change a value."""
    try:
        if library == "polars":
            made = part.cast(dtype)
            return made if made.cast(part.dtype).equals(part) else None
        made = part.astype(dtype)
        there = ~part.isna()
        same = (made.isna() != there).all() and (
            made[there].astype(part.dtype) == part[there]
        ).all()
        return made if same else None
    except Exception:  # each library has its own for a value that doesn't fit
        return None


def _sized(blocks: Iterable[NativeFrame], size: int) -> Iterator[NativeFrame]:
    """The rows of `blocks` in frames of `size` rows, the last of what is left."""
    parts: list[NativeFrame] = []
    count = 0
    for block in blocks:
        at = 0
        while at < len(block):
            part = _rows_at(block, at, size - count)
            parts.append(part)
            at, count = at + len(part), count + len(part)
            if count == size:
                yield _joined(parts)
                parts, count = [], 0
    if parts:
        yield _joined(parts)


def _check_size(size: int) -> None:
    if size < 1:
        raise ConfigurationError(f"a chunk of {size} rows can't be: give a chunk size of 1 or more")
