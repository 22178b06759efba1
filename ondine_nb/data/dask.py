"""Dask DataFrames: read partition by partition, and made of what was read.

A frame that comes out is built from the rows that were asked, never joined to the input computed
once more: that may give its rows in another order. Here nothing imports Dask before a Dask
DataFrame is there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import ConfigurationError, OndineError, RunError
from .files import first_line
from .frames import NativeFrame
from .source import FrameBlocks, joined, recast

__all__ = ["DaskSource", "is_dask"]


def is_dask(data: object) -> bool:
    """Whether `data` is a Dask DataFrame."""
    kind: object = getattr(sys.modules.get("dask.dataframe"), "DataFrame", None)
    return isinstance(kind, type) and isinstance(data, kind)


class DaskSource(FrameBlocks):
    """A `Source` on a Dask DataFrame of pandas frames; one partition is in memory at a time.

    Each reading computes the partitions anew, one after another.
    """

    def __init__(self, data: Any, name: str) -> None:
        self._data = data
        self._lengths: list[int] = []
        empty = data._meta.iloc[:0]  # what Dask knows of the dtypes
        for column, dtype in empty.dtypes.items():
            if str(dtype) == "category" and not data[column].cat.known:
                raise ConfigurationError(
                    f"{name}: the categories of column {column!r} aren't known to Dask: give "
                    f"{name}.categorize(), or make it text"
                )
        super().__init__(name, empty, self._partitions)

    def _partitions(self) -> Iterator[NativeFrame]:
        lengths = self._lengths = []  # of this reading
        for at in range(self._data.npartitions):
            called = f"partition {at} of {self.name}"
            try:
                native = _computed(self._data.partitions[at])
            except Exception as error:  # whatever a step of its graph raises
                raise RunError(f"{called} can't be computed: {first_line(error)}") from error
            lengths.append(len(native))
            yield recast(native, self._nothing, called)

    def whole(self, chunks: Sequence[NativeFrame]) -> Any:
        """A Dask DataFrame with the partitions that were read, as far as `chunks` go.

        Its index and, where all is there, its divisions are the input's.
        """
        rows = joined(chunks, in_one=False)
        parts, at = [], 0
        for length in self._lengths:
            if at < len(rows) or length == 0:
                parts.append(rows.iloc[at : at + length])
            at += length
        if at < len(rows) or not parts:  # stages of the user's own have made more of it
            parts = list(chunks)
        complete = at == len(rows) and len(parts) == self._data.npartitions
        return _assembled(parts, self._data.divisions if complete else None)


def _computed(part: Any) -> NativeFrame:
    """One partition, by the scheduler that Dask would take; an asynchronous client can't wait."""
    dask_client = getattr(sys.modules.get("distributed"), "default_client", None)
    try:
        awaited = dask_client is not None and dask_client().asynchronous
    except ValueError:  # there is none
        awaited = False
    return part.compute(scheduler="threads") if awaited else part.compute()


def _assembled(parts: Sequence[NativeFrame], divisions: Any) -> Any:
    dask = importlib.import_module("dask")
    made = importlib.import_module("dask.dataframe").from_delayed
    try:
        return made(
            [dask.delayed(part, traverse=False) for part in parts],
            meta=parts[0].iloc[:0],
            divisions=divisions,
            verify_meta=False,
        )
    except (TypeError, ValueError) as error:
        raise OndineError(f"no Dask DataFrame can be made of it: {first_line(error)}") from error
