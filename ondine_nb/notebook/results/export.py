"""Exports a run's frame as a CSV or Parquet file that takes no other file's place."""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path
from typing import Any

from ...data import open_target
from ...errors import OndineError

__all__ = ["ExportError", "export"]


class ExportError(Exception):
    """A file couldn't be written; the message says why, and what to do."""


def export(native: Any, name: str, kind: str, folder: Path) -> Path:
    """Write a pandas or polars DataFrame to `folder`; gives the file, which wasn't there before.

    `kind` is "csv" or "parquet". The file is like that of `--to`; but in CSV a pandas index comes
    first unless it only counts the rows. Raises `ExportError`, and then leaves no file behind.
    """
    try:
        path = _free(folder, name, kind)
    except OSError as error:
        raise ExportError(f"can't write to {folder}: {error.strerror or error}") from error
    try:
        with open_target(path) as sink:
            sink.write(_with_index(native) if kind == "csv" else native)
    except OndineError as error:
        path.unlink(missing_ok=True)
        raise ExportError(f"can't write the {kind} file: {error}") from error
    return path


def _free(folder: Path, name: str, kind: str) -> Path:
    """An empty file of a name that nobody had: `labeled.csv`, `labeled-2.csv`, …"""
    stem = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "results"
    for number in count(1):
        path = folder / (f"{stem}.{kind}" if number == 1 else f"{stem}-{number}.{kind}")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers don't end")


def _with_index(native: Any) -> Any:
    """A pandas frame with its index as columns, if that says anything; polars has none."""
    index = getattr(native, "index", None)
    if index is None or (type(index).__name__ == "RangeIndex" and index.name is None):
        return native
    taken = {str(name) for name in native.columns}
    names = [
        _unused(str(name) if name is not None else "index", taken) for name in list(index.names)
    ]
    return native.reset_index(names=names)


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
