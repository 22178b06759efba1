"""The store is kept open between readings, and never in anybody's way."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ondine_nb.errors import JournalError
from ondine_nb.journal.entries import Entry
from ondine_nb.journal.store import VERSION, Store, damage


def rows(*keys: bytes) -> list[tuple[object, ...]]:
    entries = [Entry(key=key, run="r", body=b"{}", max_tokens=9) for key in keys]
    return [("one", *entry.as_row(at)) for at, entry in enumerate(entries, 1)]


def keys(store: Store) -> set[bytes]:
    with store.reading() as connection:
        if connection is None:
            return set()
        return {key for (key,) in connection.execute("SELECT key FROM answers")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "answers.db")


def test_a_store_that_is_not_there_yet_has_no_answers_and_is_read_once_it_is(store: Store) -> None:
    assert keys(store) == set()
    store.put(rows(b"a"), [])
    assert keys(store) == {b"a"}


def test_what_others_add_is_seen_and_they_need_not_wait_for_readers(store: Store) -> None:
    store.put(rows(b"a"), [])
    assert keys(store) == {b"a"}
    other = sqlite3.connect(store.path, timeout=0, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")  # at once: nothing is locked between readings
    other.execute("UPDATE answers SET key = ?", (b"b",))
    other.execute("COMMIT")
    other.close()
    assert keys(store) == {b"b"}


def test_a_store_that_was_replaced_or_deleted_is_noticed(store: Store, tmp_path: Path) -> None:
    store.put(rows(b"a"), [])
    assert keys(store) == {b"a"}
    another = Store(tmp_path / "another.db")
    another.put(rows(b"b", b"c"), [])
    another.path.replace(store.path)
    assert keys(store) == {b"b", b"c"}
    store.path.unlink()
    assert keys(store) == set()


def test_after_a_reading_that_failed_the_file_is_opened_anew(store: Store) -> None:
    store.put(rows(b"a"), [])
    with pytest.raises(ValueError, match="mine"), store.reading():
        raise ValueError("mine")
    assert store._kept is None
    assert keys(store) == {b"a"}


def test_a_store_of_a_newer_version_is_told_at_each_reading(store: Store) -> None:
    store.put(rows(b"a"), [])
    assert keys(store) == {b"a"}
    newer = sqlite3.connect(store.path)
    newer.execute(f"PRAGMA user_version={VERSION + 1}")
    newer.close()
    for _ in range(2):
        with pytest.raises(JournalError, match=f"has version {VERSION + 1}, newer than {VERSION}"):
            keys(store)


def test_a_file_that_is_no_database_is_named_when_it_is_filled(store: Store) -> None:
    store.path.write_bytes(b"no database" * 100)
    with pytest.raises(JournalError, match=r"answers.db is damaged"):
        store.put(rows(b"a"), [])
    with pytest.raises(sqlite3.OperationalError, match="full"), damage(store.path):
        raise sqlite3.OperationalError("full")
