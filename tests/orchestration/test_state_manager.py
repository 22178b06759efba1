"""Checkpoints on disk: all of it comes back, and what is damaged or foreign says so."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ondine_nb.errors import CheckpointError, ConfigurationError
from ondine_nb.models import CheckpointInfo, Usage
from ondine_nb.orchestration import (
    AsyncExecutor,
    CheckpointStorage,
    ExecutionContext,
    LocalFileCheckpointStorage,
    StateManager,
    SyncExecutor,
)
from tests.orchestration.parts import Load, Work, frame


def context(**changes: Any) -> ExecutionContext:
    fields = {
        "accumulated_cost": Decimal("0.000012345678901234567890"),
        "usage": Usage(1, 2, 3, 4),
        "last_processed_row": 41,
        "current_stage_index": 2,
        "max_budget": Decimal("1.10"),
        **changes,
    }
    return ExecutionContext(**fields)


@pytest.fixture
def storage(tmp_path: Path) -> LocalFileCheckpointStorage:
    return LocalFileCheckpointStorage(tmp_path / "deep" / "checkpoints")


@pytest.fixture
def manager(storage: LocalFileCheckpointStorage) -> StateManager:
    return StateManager(storage)


def path_of(storage: LocalFileCheckpointStorage, session: UUID) -> Path:
    return storage.checkpoint_dir / f"{session}.json"


def test_a_context_comes_back_whole(manager: StateManager) -> None:
    saved = context(intermediate_data={"ü": [1, None, {"x": 1.5}]})
    assert manager.save_checkpoint(saved) is True
    assert manager.can_resume(saved.session_id) is True
    loaded = manager.load_checkpoint(saved.session_id)
    assert loaded is not None
    assert loaded.to_checkpoint() == saved.to_checkpoint()
    assert (loaded.trace_id, loaded.span_id) == (saved.trace_id, saved.span_id)
    assert str(loaded.accumulated_cost) == str(saved.accumulated_cost)


def test_what_isnt_there_is_none_and_false(manager: StateManager) -> None:
    session = uuid4()
    assert manager.load_checkpoint(session) is None
    assert manager.can_resume(session) is False
    assert manager.cleanup_checkpoints(session) is False
    assert manager.list_checkpoints() == []


def test_cleaning_up_deletes_just_that_session(manager: StateManager) -> None:
    one, other = context(), context()
    for each in (one, other):
        manager.save_checkpoint(each)
    assert manager.cleanup_checkpoints(one.session_id) is True
    assert manager.can_resume(one.session_id) is False
    assert manager.can_resume(other.session_id) is True


def test_the_interval_counts_rows_since_the_last_checkpoint(manager: StateManager) -> None:
    assert manager.checkpoint_interval == 500
    assert not manager.should_checkpoint(499)
    assert manager.should_checkpoint(500)
    manager.save_checkpoint(context(last_processed_row=500))
    assert not manager.should_checkpoint(999)
    assert manager.should_checkpoint(1000)


def test_the_list_names_all_newest_first(
    manager: StateManager, storage: LocalFileCheckpointStorage
) -> None:
    saved = [context(last_processed_row=n, current_stage_index=n + 1) for n in range(3)]
    for each in saved:
        manager.save_checkpoint(each)
    listed = manager.list_checkpoints()
    assert all(isinstance(info, CheckpointInfo) for info in listed)
    assert [info.session_id for info in listed] == [each.session_id for each in reversed(saved)]
    newest = listed[0]
    path = path_of(storage, newest.session_id)
    assert (newest.row_index, newest.stage_index) == (2, 3)
    assert (newest.checkpoint_path, newest.size_bytes) == (str(path), path.stat().st_size)


def test_a_storage_gives_back_just_what_it_was_given(storage: LocalFileCheckpointStorage) -> None:
    session, data = uuid4(), {"format": 7, "saved": None, "anything": ["at", "all"]}
    assert storage.save(session, data) is True
    assert storage.load(session) == data
    assert [info.session_id for info in storage.list_checkpoints()] == [session]
    assert storage.save(session, {}) is True
    assert storage.load(session) == {}
    assert storage.exists(session) is True
    assert storage.delete(session) is True
    assert storage.delete(session) is False


def test_a_save_replaces_the_file_as_a_whole_and_leaves_nothing_beside_it(
    storage: LocalFileCheckpointStorage,
) -> None:
    session = uuid4()
    for size in (5000, 1):
        storage.save(session, {"x": "y" * size})
    assert storage.load(session) == {"x": "y"}
    assert [path.name for path in storage.checkpoint_dir.iterdir()] == [f"{session}.json"]


DAMAGED = {
    "cut": b'{"format": 1, "saved": "2026-01-01", "da',
    "empty": b"",
    "binary": bytes(range(256)),
    "deep": b"[" * 200_000,
    "a list": b"[1, 2]",
    "a number": b"5",
    "another program's": b'{"version": "1.0", "state": {}}',
    "no data": b'{"format": 1, "saved": "2026-01-01T00:00:00"}',
    "data of a wrong kind": b'{"format": 1, "saved": "2026-01-01T00:00:00", "data": [1]}',
    "format of a wrong kind": b'{"format": "x", "data": {}}',
    "format true": b'{"format": true, "data": []}',
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_or_foreign_file_is_a_clear_error_and_never_a_start_from_row_0(
    manager: StateManager, storage: LocalFileCheckpointStorage, damage: bytes
) -> None:
    session = uuid4()
    path = path_of(storage, session)
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    with pytest.raises(CheckpointError, match=r"(?i)delete it") as raised:
        manager.load_checkpoint(session)
    assert str(path) in str(raised.value)


def test_a_file_that_describes_no_run_is_a_clear_error(
    manager: StateManager, storage: LocalFileCheckpointStorage
) -> None:
    session = uuid4()
    storage.save(session, {"session_id": str(session)})
    with pytest.raises(CheckpointError, match="not a checkpoint of a run"):
        manager.load_checkpoint(session)


def test_a_newer_file_says_upgrade(
    manager: StateManager, storage: LocalFileCheckpointStorage
) -> None:
    saved = context()
    manager.save_checkpoint(saved)
    path = path_of(storage, saved.session_id)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(CheckpointError, match=r"newer ondine_nb\. Upgrade"):
        manager.load_checkpoint(saved.session_id)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.floats(0, 1, exclude_max=True), noise=st.binary(min_size=1, max_size=3))
def test_a_checkpoint_that_was_damaged_anywhere_is_never_read_as_something_else(
    storage: LocalFileCheckpointStorage, at: float, noise: bytes
) -> None:
    manager, saved = StateManager(storage), context()
    manager.save_checkpoint(saved)
    path = path_of(storage, saved.session_id)
    content = path.read_bytes()
    place = int(at * len(content))
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    try:
        loaded = manager.load_checkpoint(saved.session_id)
    except CheckpointError:
        return
    assert loaded is not None
    assert loaded.to_checkpoint() == saved.to_checkpoint()


def test_the_list_leaves_out_what_it_cant_read_and_says_so(
    manager: StateManager, storage: LocalFileCheckpointStorage, caplog: pytest.LogCaptureFixture
) -> None:
    saved = context()
    manager.save_checkpoint(saved)
    for at, damage in enumerate(DAMAGED.values()):
        (storage.checkpoint_dir / f"{UUID(int=at)}.json").write_bytes(damage)
    (storage.checkpoint_dir / "folder.json").mkdir()
    (storage.checkpoint_dir / "notes.json").write_text('{"format": 1, "saved": 5, "data": {}}')
    assert [info.session_id for info in manager.list_checkpoints()] == [saved.session_id]
    assert caplog.text.count("is left out") == len(DAMAGED) + 2


def test_a_folder_that_cant_be_written_is_an_error_of_the_storage_and_a_log_line_of_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    storage = LocalFileCheckpointStorage(tmp_path / "file" / "checkpoints")
    with pytest.raises(CheckpointError, match="can't be written"):
        storage.save(uuid4(), {})
    with caplog.at_level(logging.ERROR):
        assert StateManager(storage).save_checkpoint(context()) is False
    assert "can't be written" in caplog.text


def test_a_state_that_isnt_json_is_an_error_that_names_the_remedy(
    storage: LocalFileCheckpointStorage,
) -> None:
    with pytest.raises(CheckpointError, match="intermediate_data"):
        storage.save(uuid4(), {"x": object()})


@pytest.mark.parametrize("error", [RuntimeError("mine"), CheckpointError("x"), OSError("y")])
def test_a_storage_of_the_users_own_may_raise_anything_and_the_run_goes_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(LocalFileCheckpointStorage):
        def save(self, session_id: UUID, data: dict[str, Any]) -> bool:
            raise error

    manager = StateManager(Broken())
    assert manager.save_checkpoint(context(last_processed_row=500)) is False
    assert manager.should_checkpoint(500)
    assert str(error) in caplog.text


def test_a_storage_may_be_kept_in_memory() -> None:
    class Memory(CheckpointStorage):
        def __init__(self) -> None:
            self.kept: dict[UUID, dict[str, Any]] = {}

        def save(self, session_id: UUID, data: dict[str, Any]) -> bool:
            self.kept[session_id] = data
            return True

        def load(self, session_id: UUID) -> dict[str, Any] | None:
            return self.kept.get(session_id)

        def list_checkpoints(self) -> list[CheckpointInfo]:
            return []

        def delete(self, session_id: UUID) -> bool:
            return self.kept.pop(session_id, None) is not None

        def exists(self, session_id: UUID) -> bool:
            return session_id in self.kept

    manager, saved = StateManager(Memory(), checkpoint_interval=10), context()
    assert manager.save_checkpoint(saved)
    loaded = manager.load_checkpoint(saved.session_id)
    assert loaded is not None
    assert loaded.to_checkpoint() == saved.to_checkpoint()
    assert manager.cleanup_checkpoints(saved.session_id)


@pytest.mark.parametrize("session", ["../../etc/passwd", "x", ""])
def test_a_session_id_that_is_none_reaches_no_file(
    storage: LocalFileCheckpointStorage, session: Any
) -> None:
    with pytest.raises(ValueError, match="UUID"):
        storage.load(session)


def test_saves_from_several_threads_leave_the_last_state(
    manager: StateManager, storage: LocalFileCheckpointStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """A run saves beside its rows and at its end: an older state must not come out on top."""
    saved = context(total_rows=400)

    def save(start: int) -> None:
        for _ in range(start, start + 50):
            saved.accumulated_tokens += 1
            assert manager.save_checkpoint(saved)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(save, range(0, 400, 50)))
    assert manager.save_checkpoint(saved)
    loaded = manager.load_checkpoint(saved.session_id)
    assert loaded is not None
    assert loaded.accumulated_tokens == saved.accumulated_tokens
    assert [path.name for path in storage.checkpoint_dir.iterdir()] == [f"{saved.session_id}.json"]
    assert caplog.records == []


def test_the_same_trouble_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    manager = StateManager(LocalFileCheckpointStorage(tmp_path / "file"))
    same = context()
    for _ in range(3):
        assert not manager.save_checkpoint(same)
    assert len(caplog.records) == 1


def test_what_is_no_json_in_a_context_costs_its_own_place_in_the_checkpoint_and_no_more(
    manager: StateManager, caplog: pytest.LogCaptureFixture
) -> None:
    data = {
        "frame": pd.DataFrame({"a": [1]}),
        "counts": {np.int64(3): [np.float64(0.5), np.bool_(True), pl.DataFrame(), object()]},
        "kept": (1, "two", None),
    }
    mixed: Any = context(intermediate_data=data, total_rows=np.int64(5))
    mixed.failed_rows, mixed.accumulated_tokens = np.int32(1), np.uint8(7)
    for _ in range(3):
        assert manager.save_checkpoint(mixed)
    loaded = manager.load_checkpoint(mixed.session_id)
    assert loaded is not None
    assert loaded.intermediate_data == {"counts": {"3": [0.5, True]}, "kept": [1, "two", None]}
    assert (loaded.total_rows, loaded.failed_rows, loaded.accumulated_tokens) == (5, 1, 7)
    assert len(caplog.records) == 1
    assert "intermediate_data['frame'] (DataFrame)" in caplog.text


@pytest.mark.parametrize("interval", [0, -1, 1.5, "5", None, True, float("nan")])
def test_an_interval_of_no_rows_is_an_error(interval: Any, manager: StateManager) -> None:
    with pytest.raises(ConfigurationError, match=f"checkpoint_interval is {interval!r}"):
        StateManager(manager.storage, interval)


def test_checkpoints_are_json_only(tmp_path: Path) -> None:
    assert LocalFileCheckpointStorage(tmp_path, use_json=True).checkpoint_dir == tmp_path
    with pytest.raises(ConfigurationError, match="JSON only"):
        LocalFileCheckpointStorage(tmp_path, use_json=False)


def test_old_checkpoints_are_cleaned_up_and_younger_ones_stay(
    storage: LocalFileCheckpointStorage,
) -> None:
    for _ in range(3):
        storage.save(uuid4(), {})
    old = storage.list_checkpoints()[0]
    path = Path(old.checkpoint_path)
    saved = datetime.now().astimezone() - timedelta(days=8)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"saved": saved.isoformat()}))
    assert storage.cleanup_old_checkpoints(days=9) == 0
    assert storage.cleanup_old_checkpoints() == 1
    assert not path.exists()
    assert len(storage.list_checkpoints()) == 2


class InSqlite(CheckpointStorage):
    """Checkpoints in a database whose connection belongs to the thread that made this."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.connection.execute("create table kept (id text primary key, data text)")

    def save(self, session_id: UUID, data: dict[str, Any]) -> bool:
        row = (str(session_id), json.dumps(data))
        self.connection.execute("insert or replace into kept values (?, ?)", row)
        return True

    def load(self, session_id: UUID) -> dict[str, Any] | None:
        query = "select data from kept where id = ?"
        found = self.connection.execute(query, (str(session_id),)).fetchone()
        return json.loads(found[0]) if found else None

    def list_checkpoints(self) -> list[CheckpointInfo]:
        return []

    def delete(self, session_id: UUID) -> bool:
        return False

    def exists(self, session_id: UUID) -> bool:
        return self.load(session_id) is not None


def test_a_checkpoint_is_old_by_its_files_own_time_too(
    storage: LocalFileCheckpointStorage,
) -> None:
    old, young = uuid4(), uuid4()
    for session in (old, young):
        storage.save(session, context(session_id=session).to_checkpoint())
    ten_days_ago = (datetime.now() - timedelta(days=10)).timestamp()
    os.utime(path_of(storage, old), (ten_days_ago, ten_days_ago))
    assert storage.cleanup_old_checkpoints() == 1
    assert not storage.exists(old)
    assert storage.exists(young)


@pytest.mark.parametrize("given", [None, 5, Path("checkpoints")])
def test_what_is_no_storage_is_one_line(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="give a CheckpointStorage"):
        StateManager(given)


async def test_a_storage_that_belongs_to_the_loops_thread_is_called_there() -> None:
    manager, run = StateManager(InSqlite(), 3), ExecutionContext()
    executor = AsyncExecutor(2, state_manager=manager)
    await executor.execute([Load(frame(9)), Work()], run)
    loaded = manager.load_checkpoint(run.session_id)
    assert loaded is not None
    assert loaded.processed_rows == 9


def test_a_storage_that_belongs_to_another_thread_says_so_and_names_the_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor = SyncExecutor(state_manager=StateManager(InSqlite(), 3))
    assert executor.execute([Load(frame(9)), Work()], ExecutionContext()).success
    assert "no checkpoint: ProgrammingError: SQLite objects" in caplog.text
    assert "check_same_thread=False" in caplog.text
