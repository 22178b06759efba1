"""Where a run writes to: a file, or a folder of Parquet files, in place once all are whole."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path

from .errors import ConfigurationError, RunError
from .frames import NativeFrame
from .sinks import Sink, open_sink

__all__ = ["open_target"]

_PART_ROWS = 100_000


def open_target(path: str | Path, kind: str | None = None) -> Sink:
    """A sink for `path`: one that ends in "/" is a folder, anything else a file (`open_sink`).

    A folder gets files named `part.0.parquet` and so on. It takes the place of an older one that
    holds such files and nothing else. Raises ConfigurationError as `open_sink` does.
    """
    target = Path(path).expanduser()
    if not str(path).endswith(("/", os.sep)):
        return open_sink(path, kind)
    if target.exists() and not (target.is_dir() and all(map(_is_part, target.iterdir()))):
        raise ConfigurationError(
            f"results can't go to the folder {target}: other things than part.….parquet are "
            "there, so choose another"
        )
    return _FolderSink(target, kind)


def _is_part(path: Path) -> bool:
    return re.fullmatch(r"part\.\d+\.parquet", path.name) is not None


class _FolderSink(Sink):
    """A folder of Parquet files, each of `_PART_ROWS` rows or a chunk more."""

    def __init__(self, path: Path, kind: str | None) -> None:
        self.path = path
        self.rows = 0
        self._place = path.resolve()
        self._folder = self._place.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._kind = kind
        self._parts = 0
        self._over = False
        try:
            self._folder.mkdir()  # what can't be written is seen before the run
        except OSError as error:
            raise ConfigurationError(
                f"results can't go to {path}: {error.strerror}, so choose another folder"
            ) from error
        self._sink: Sink | None = None

    def write(self, frame: NativeFrame) -> None:
        if self._sink is None:
            part = self._folder / f"part.{self._parts}.parquet"
            self._sink = open_sink(part, self._kind)
            self._parts += 1
        self._sink.write(frame)
        self.rows += len(frame)
        if self._sink.rows >= _PART_ROWS:
            self._sink.close()
            self._sink = None

    def close(self) -> None:
        if self._over:
            return
        if not self._parts:
            raise RunError(f"{self.path} can't be finished: no chunk was written")
        if self._sink is not None:
            self._sink.close()
        older = self._folder.with_suffix(".older")
        try:
            if self._place.exists():
                self._place.replace(older)
            self._folder.replace(self._place)
        except OSError as error:
            raise RunError(f"{self.path} can't be put in place: {error.strerror}") from error
        self._over = True
        shutil.rmtree(older, ignore_errors=True)

    def discard(self) -> None:
        if self._over:
            return
        self._over = True
        if self._sink is not None:
            self._sink.discard()
        shutil.rmtree(self._folder, ignore_errors=True)
