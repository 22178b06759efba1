"""Damaged files: what of them is as it was written, and the names they are kept aside under."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Generator
from itertools import count
from pathlib import Path
from typing import Any

from ..errors import JournalError
from .batches import batch_intact, batch_rows
from .entries import columns_of, intact

__all__ = ["DamageError", "Salvage", "keep_aside", "kept_aside", "text_of"]

_FARTHEST = 1 << 40
_ASIDE = "damaged-"


class DamageError(JournalError):
    """A file isn't as it was written."""

    def __init__(self, path: Path, how: str) -> None:
        self.how: str = " ".join(how.split())  # sqlite says it in several lines
        super().__init__(
            f"the journal {path} is damaged ({self.how}). Move it away to go on without its answers"
        )


class Salvage:
    """Reads what can be read of a file, in whatever state it is.

    Once that is read, `found` answers are as they were written and `changed` aren't; `newest` is
    the last sequence number of those found, `torn` what sqlite said where it couldn't read on, and
    `batches_lost` says that records of batches are gone.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        connection.text_factory = text_of
        self._connection, self._name = connection, name
        self.found = self.changed = self.newest = 0
        self.torn: sqlite3.DatabaseError | None = None
        self.batches_lost: bool = False

    def answers(self) -> Generator[tuple[Any, ...]]:
        """Each answer that is as it was written: the source's name, the sequence, `COLUMNS`.

        Raises `sqlite3.DatabaseError` where not a single one can be read.
        """
        made = "SELECT 1 FROM sqlite_master WHERE name = 'answers'"
        if self._connection.execute(made).fetchone() is None:
            return
        columns = columns_of(self._connection)
        query = f"SELECT rowid, source, n, {columns} FROM answers WHERE rowid > ?"  # noqa: S608
        last, step = 0, 1
        while step < _FARTHEST:
            try:
                for place, source, *row in self._connection.execute(query, (last,)):
                    last, step = place, 1
                    if intact(row):
                        self.found += 1
                        self.newest = max(self.newest, row[0])
                        yield (source or self._name, *row)
                    else:
                        self.changed += 1
                return
            except sqlite3.DatabaseError as error:
                self.torn = error
                last, step = last + step, step * 2  # there may be readable pages behind
        if not self.found and self.torn:
            raise self.torn

    def batches(self) -> list[tuple[Any, ...]]:
        """The records of batches that are as they were written."""
        try:
            found = batch_rows(self._connection)
        except sqlite3.DatabaseError as error:
            self.torn, self.batches_lost = error, True
            return []
        kept = [row for row in found if batch_intact(row)]
        self.batches_lost = len(kept) < len(found)
        return kept


def text_of(content: bytes) -> str:
    """A text as sqlite holds it: one that is damaged is read, and then not as it was written."""
    return content.decode("utf-8", "surrogateescape")


def keep_aside(path: Path) -> Path:
    """Give a file a second name, under which nobody takes it for a journal; gives that name."""
    names = (f"{path.stem}-{number}" if number > 1 else path.stem for number in count(1))
    for name in names:
        aside = path.with_name(f"{_ASIDE}{name}{path.suffix}")
        try:
            os.link(path, aside)
        except FileExistsError:  # of an earlier damage
            continue
        except OSError:  # a file system without second names
            if aside.exists():
                continue
            shutil.copyfile(path, aside)
        return aside
    raise AssertionError  # the count never ends


def kept_aside(folder: Path) -> list[Path]:
    """The damaged databases that are kept in a journal folder."""
    return sorted(folder.glob(f"{_ASIDE}*.db"))
