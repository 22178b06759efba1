"""Batches in the journal: found again by later processes, by the furthest state of each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from ondine_nb.journal.batches import CREATED, ENDED, INTENDED, BatchRecord
from ondine_nb.journal.entries import Entry
from ondine_nb.journal.journal import Journal

KEYS = (b"a" * 20, b"b" * 20)
INTENT = BatchRecord("pre", "run", "anthropic", "m", 10, KEYS, "0.5")


def act(folder: Path, *steps: BatchRecord) -> list[BatchRecord]:
    """One process: it takes over, records these steps, and ends; what is open in its eyes."""

    async def work(journal: Journal) -> list[BatchRecord]:
        await journal.refresh()
        for step in steps:
            await journal.put_batch(step)
        return await journal.open_batches("anthropic")

    journal = Journal(folder)
    try:
        return asyncio.run(work(journal))
    finally:
        journal.close()


def test_a_later_process_finds_an_intent_as_it_was(tmp_path: Path) -> None:
    act(tmp_path, INTENT)
    assert act(tmp_path) == [INTENT]


def test_a_record_without_an_answer_beside_it_survives_the_end_of_two_processes(
    tmp_path: Path,
) -> None:
    created = replace(INTENT, id="msgbatch_1", state=CREATED)
    act(tmp_path, INTENT)
    act(tmp_path, created)
    act(tmp_path)
    assert act(tmp_path) == [created]


@pytest.mark.parametrize("order", list(permutations([INTENDED, CREATED, ENDED])))
def test_the_furthest_state_holds_in_whatever_order_it_is_learnt(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    for state in order:
        act(tmp_path, replace(INTENT, id="" if state == INTENDED else "x", state=state))
    assert act(tmp_path) == []


def test_batches_of_another_provider_and_those_too_old_are_not_open(tmp_path: Path) -> None:
    old = replace(INTENT, prefix="old", at=time.time() - 30 * 24 * 3600)
    act(tmp_path, old, replace(INTENT, prefix="else", provider="http://elsewhere"))
    assert act(tmp_path) == []


def test_a_store_of_an_earlier_version_without_batches_is_read_and_completed(
    tmp_path: Path,
) -> None:
    import sqlite3

    async def append(journal: Journal) -> None:
        await journal.append(Entry(KEYS[0], "run", b"{}", 10))

    journal = Journal(tmp_path)
    asyncio.run(append(journal))
    journal.close()
    act(tmp_path)  # merged into the store
    store = sqlite3.connect(tmp_path / "answers.db")
    store.execute("DROP TABLE batches")
    store.close()
    assert act(tmp_path) == []
    act(tmp_path, INTENT)
    assert act(tmp_path) == [INTENT]


def test_entries_that_are_appended_together_are_all_there(tmp_path: Path) -> None:
    async def work(journal: Journal) -> Any:
        await journal.extend([Entry(key, "run", b"{}", 10) for key in KEYS])
        return await journal.lookup(KEYS)

    journal = Journal(tmp_path)
    assert set(asyncio.run(work(journal))) == set(KEYS)
    journal.close()


@pytest.mark.parametrize("name", ["pre-2", "pre--1", "pre-", "pre", "other-0", "pre-x", "pre-²"])
def test_a_request_of_another_batch_has_no_number(name: str) -> None:
    assert INTENT.number(name) is None


def test_numbers_and_ids_of_requests_belong_together() -> None:
    assert [INTENT.number(INTENT.custom_id(at)) for at in (0, 1)] == [0, 1]
