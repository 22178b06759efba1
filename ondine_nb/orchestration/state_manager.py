"""Checkpoints: summaries of a run on disk. The journal, not they, holds the answers."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import threading
import zlib
from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from ..errors import CheckpointError, ConfigurationError
from ..models import CheckpointInfo
from .checks import whole_number
from .context import ExecutionContext
from .stage import of_another_thread

__all__ = ["CheckpointStorage", "LocalFileCheckpointStorage", "StateManager"]

logger = logging.getLogger("ondine_nb")
_FORMAT = 1


class CheckpointStorage(ABC):
    """Where checkpoints are kept, by session id."""

    @abstractmethod
    def save(self, session_id: UUID, data: dict[str, Any]) -> bool:
        """Keep `data`; whether that went well."""

    @abstractmethod
    def load(self, session_id: UUID) -> dict[str, Any] | None:
        """What was kept, or None. Raises `CheckpointError` where it can't be read."""

    @abstractmethod
    def list_checkpoints(self) -> list[CheckpointInfo]:
        """All checkpoints that can be read, the newest first."""

    @abstractmethod
    def delete(self, session_id: UUID) -> bool:
        """Whether there was one."""

    @abstractmethod
    def exists(self, session_id: UUID) -> bool:
        """Whether there is one."""


class LocalFileCheckpointStorage(CheckpointStorage):
    """One JSON file a session in `checkpoint_dir`, replaced as a whole at each save.

    Raises `ConfigurationError` for `use_json=False`: a pickle runs whatever code somebody put in.
    """

    def __init__(
        self, checkpoint_dir: Path | str = Path(".ondine") / "checkpoints", use_json: bool = True
    ) -> None:
        if not use_json:
            raise ConfigurationError("use_json is False: checkpoints are JSON only. Leave it out")
        self.checkpoint_dir: Path = Path(checkpoint_dir)

    def save(self, session_id: UUID, data: dict[str, Any]) -> bool:
        """Raises `CheckpointError` where the folder can't be written or `data` isn't JSON."""
        path = self._path(session_id)
        temporary = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            saved = datetime.now().astimezone().isoformat()
            text = _with_checksum(json.dumps({"format": _FORMAT, "saved": saved, "data": data}))
            self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise CheckpointError(
                f"checkpoint {path} can't be written: {error.strerror or error}. "
                "Choose a folder that can be written"
            ) from error
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"the state of session {session_id} is not JSON: {error}. Keep only numbers, "
                "texts, lists and dicts in `intermediate_data`"
            ) from error
        return True

    def load(self, session_id: UUID) -> dict[str, Any] | None:
        path = self._path(session_id)
        if not path.exists():
            return None
        data: dict[str, Any] = self._read(path)["data"]
        return data

    def list_checkpoints(self) -> list[CheckpointInfo]:
        found = []
        for path in self.checkpoint_dir.glob("*.json"):
            try:
                found.append(_info(path, self._read(path)))
            except (CheckpointError, OSError, KeyError, ValueError, TypeError) as error:
                logger.warning("checkpoint %s is left out: %s", path, error)
        return sorted(found, key=lambda info: info.timestamp, reverse=True)

    def delete(self, session_id: UUID) -> bool:
        try:
            self._path(session_id).unlink()
        except FileNotFoundError:
            return False
        return True

    def exists(self, session_id: UUID) -> bool:
        return self._path(session_id).exists()

    def cleanup_old_checkpoints(self, days: float = 7) -> int:
        """Delete checkpoints that were saved more than `days` ago; how many there were.

        By the file's own time too: one that can't be read any more grows old as well.
        """
        before = datetime.now() - timedelta(days=days)
        old = {info.session_id for info in self.list_checkpoints() if info.timestamp < before}
        for path in self.checkpoint_dir.glob("*.json"):
            with contextlib.suppress(OSError, ValueError):  # just gone, or nobody's checkpoint
                if path.stat().st_mtime < before.timestamp():
                    old.add(UUID(path.stem))
        return sum(self.delete(session_id) for session_id in old)

    def _path(self, session_id: UUID) -> Path:
        return self.checkpoint_dir / f"{UUID(str(session_id))}.json"

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            text = path.read_text(encoding="utf-8")
            data: Any = json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"checkpoint {path} can't be read ({error}). Delete it, or start the run again: "
                "the journal still has its paid answers"
            ) from error
        if not _as_written(text):
            raise CheckpointError(
                f"checkpoint {path} isn't as it was written. Delete it, or start the run again: "
                "the journal still has its paid answers"
            )
        version = data.get("format") if isinstance(data, dict) else None
        if type(version) is int and version > _FORMAT:
            raise CheckpointError(
                f"checkpoint {path} was written by a newer ondine_nb. Upgrade, or delete it"
            )
        if version != _FORMAT or not isinstance(data.get("data"), dict):
            raise CheckpointError(f"{path} is not a checkpoint of a run. Delete it")
        envelope: dict[str, Any] = data
        return envelope


_CHECKED = re.compile(r'\{"checked": "([0-9a-f]{8})",\n')


def _with_checksum(text: str) -> str:
    """A JSON object with a checksum of the rest in its first line."""
    return f'{{"checked": "{zlib.crc32(text.encode()):08x}",\n{text[1:]}'


def _as_written(text: str) -> bool:
    """Whether nothing has changed by accident. What a person has edited has no such first line."""
    found = _CHECKED.match(text)
    return found is None or text == _with_checksum("{" + text[found.end() :])


def _info(path: Path, envelope: dict[str, Any]) -> CheckpointInfo:
    data = envelope["data"]
    return CheckpointInfo(
        session_id=UUID(path.stem),
        checkpoint_path=str(path),
        row_index=int(data.get("last_processed_row", 0)),
        stage_index=int(data.get("current_stage_index", 0)),
        timestamp=datetime.fromisoformat(envelope["saved"]).astimezone().replace(tzinfo=None),
        size_bytes=path.stat().st_size,
    )


class StateManager:
    """Saves a run's context every `checkpoint_interval` rows and gets it back.

    During a run the storage is called in a worker thread, one call at a time; where it turns out to
    belong to another one (sqlite), on the loop's thread from then on (`in_thread` is False then).
    Raises `ConfigurationError` for an interval of less than a row.
    """

    in_thread: bool = True

    def __init__(self, storage: CheckpointStorage, checkpoint_interval: int = 500) -> None:
        if not callable(getattr(storage, "save", None)):
            raise ConfigurationError(
                f"storage is {storage!r}: give a CheckpointStorage, as LocalFileCheckpointStorage()"
            )
        self.storage = storage
        self.checkpoint_interval: int = whole_number(
            "checkpoint_interval", checkpoint_interval, "row "
        )
        self._last_checkpoint_row = 0
        self._told = ""
        self._saving = threading.Lock()

    def begin(self, context: ExecutionContext) -> None:
        """Count the interval from where this run stands, whatever run was saved before."""
        self._last_checkpoint_row = context.last_processed_row

    def should_checkpoint(self, current_row: int) -> bool:
        """Whether `checkpoint_interval` rows have passed since the last checkpoint."""
        return (current_row - self._last_checkpoint_row) >= self.checkpoint_interval

    def save_checkpoint(self, context: ExecutionContext) -> bool:
        """Whether the context was saved; why not is logged once: a run goes on without it."""
        try:
            with self._saving:  # a later state is never overtaken by an earlier one
                saved = self.storage.save(context.session_id, context.to_checkpoint())
        except Exception as error:  # a user's storage, or what they put in the context, may raise
            foreign = of_another_thread(error)
            if not (foreign and self.in_thread):
                self._tell(error, ". Connect with check_same_thread=False" if foreign else "")
            self.in_thread = self.in_thread and not foreign
            return False
        if saved:
            self._last_checkpoint_row = context.last_processed_row
        return saved

    def _tell(self, error: Exception, remedy: str) -> None:
        if str(error) != self._told:
            said = str(error).rstrip(".")
            logger.error("no checkpoint: %s: %s%s", type(error).__name__, said, remedy)
        self._told = str(error)

    def load_checkpoint(self, session_id: UUID) -> ExecutionContext | None:
        """The saved context, or None where there is none.

        Raises `CheckpointError` on a damaged or foreign one: never a silent start from row 0.
        """
        data = self.storage.load(session_id)
        return None if data is None else ExecutionContext.from_checkpoint(data)

    def can_resume(self, session_id: UUID) -> bool:
        """Whether there is a checkpoint of this session."""
        return self.storage.exists(session_id)

    def cleanup_checkpoints(self, session_id: UUID) -> bool:
        """Delete the session's checkpoint; False, and a line in the log, where that can't be."""
        try:
            return self.storage.delete(session_id)
        except Exception as error:  # a storage of the user's own may raise anything
            kind = type(error).__name__
            logger.error("the checkpoint of %s can't be deleted: %s: %s", session_id, kind, error)
            return False

    def list_checkpoints(self) -> list[CheckpointInfo]:
        """All checkpoints, the newest first."""
        return self.storage.list_checkpoints()
