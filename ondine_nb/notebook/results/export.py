"""A run's frame as a CSV or Parquet file that takes no other file's place."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import IO, Any

from ...data import Frame, wrap
from ...prompts import as_text

__all__ = ["ExportError", "export"]

STEP = 1_000  # rows written in one go


class ExportError(Exception):
    """A file couldn't be written; the message says why, and what to do."""


def export(native: Any, name: str, kind: str, folder: Path) -> Path:
    """Write a pandas or polars DataFrame to `folder`; gives the file, which wasn't there before.

    `kind` is "csv" or "parquet". In CSV a cell is what a prompt would show of it (dates ISO, lists
    JSON, missing empty); a pandas index comes first unless it only counts the rows. Raises
    `ExportError`, and then leaves no file behind.
    """
    write = _csv if kind == "csv" else _parquet
    try:
        path = _free(folder, name, kind)
    except OSError as error:
        raise ExportError(f"can't write to {folder}: {error.strerror or error}") from error
    try:
        write(native, path)
    except Exception as error:
        path.unlink(missing_ok=True)
        raise ExportError(_reason(error, kind)) from error
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


def _csv(native: Any, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        _write_rows(wrap(_with_index(native), path.stem), file)


def _write_rows(frame: Frame, file: IO[str]) -> None:
    rows = csv.writer(file)
    rows.writerow([as_text(name) for name in frame.columns])
    for part in frame.iter_rows(frame.columns, size=STEP):
        rows.writerows([as_text(value) for value in cells] for cells in part)


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


def _parquet(native: Any, path: Path) -> None:
    write: Callable[[Path], Any] = getattr(native, "write_parquet", None) or native.to_parquet
    write(path)


def _reason(error: Exception, kind: str) -> str:
    if isinstance(error, ImportError):
        return f"{kind} files of a pandas frame need pyarrow: %pip install pyarrow"
    text = " ".join(str(error).split())[:200]
    return f"can't write the {kind} file: {type(error).__name__}: {text}"
