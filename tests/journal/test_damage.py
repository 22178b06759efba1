"""Whatever damages a journal: no wrong answer, no wrong cost, and no loss without a word."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from ondine_nb.errors import JournalError
from ondine_nb.journal import Journal, kept_aside
from ondine_nb.journal.batches import CREATED, BatchRecord
from ondine_nb.journal.ended import unreadable_frames
from ondine_nb.journal.entries import Entry
from tests.journal.test_journal import put, read_fresh

ROWS = 120
SEEDS, GROUP = 200, 20
_NOTHING_IS_READ = "not a database|has version|malformed|disk I/O|no such table|none of its answers"
_ASKED = ("r", "anthropic", "m", 9)
_FIRST = frozenset({0})
BATCHES = [
    BatchRecord("a" * 8, *_ASKED, (b"k" * 20,), "0.5", "msgbatch_a", CREATED),
    BatchRecord("b" * 8, *_ASKED, (b"l" * 20,), "0.25", "msgbatch_b", CREATED, begins=_FIRST),
]


def answer(n: int) -> Entry:
    """Of several sizes, so that some take pages of their own."""
    body = random.Random(n).randbytes(40 if n % 10 else 9_000)
    cost = f"0.{n + 1:06d}"
    return Entry(b"key-%016d" % n, f"run-{n % 3}", body, 99, model="m", cost=cost, latency=n / 7)


ANSWERS = [answer(n) for n in range(ROWS)]
BODIES = {each.key: each.body for each in ANSWERS}
COSTS = sum(Decimal(each.cost or 0) for each in ANSWERS)


async def written(folder: Path, answers: list[Entry], *steps: BatchRecord) -> None:
    journal = Journal(folder)
    for start in range(0, len(answers), 5):
        await put(journal, *answers[start : start + 5])
    for step in steps:
        await journal.put_batch(step)
    journal.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, the file of a kernel that ended, and that of one that was killed."""
    folder = tmp_path_factory.mktemp("journal") / "whole"

    async def main() -> None:
        await written(folder, ANSWERS[:40], BATCHES[0])
        await Journal(folder).refresh()
        await written(folder, ANSWERS[40:80])
        killed = Journal(folder)
        await put(killed, *ANSWERS[80:100])
        for each in ANSWERS[100:]:
            await put(killed, each)
        await killed.put_batch(BATCHES[1])
        shutil.copytree(folder, folder.with_name("killed"))
        killed.close()

    asyncio.run(main())
    kept = folder.with_name("killed")
    for path in kept.glob("live-*.db"):  # the reader's own, which has nothing
        with path.with_suffix(".lock").open() as note:
            if note.read().startswith(f"{0:019d} answers"):
                for each in kept.glob(f"{path.stem}*"):
                    each.unlink()
    assert {path.suffix for path in kept.iterdir()} == {"", ".db", ".db-wal", ".lock"}
    return kept


Found = tuple[dict[bytes, list[bytes]], Decimal, list[BatchRecord]]


async def found(folder: Path) -> Found:
    """All answers, what they cost, and the batches that are open."""
    journal = Journal(folder)
    try:
        await journal.refresh()
        entries = await journal.lookup(list(BODIES))
        costs = [Decimal(bill.cost or 0) async for bill in journal.bills()]
        batches = await journal.open_batches("anthropic")
    finally:
        journal.close()
    bodies = {key: [each.body for each in several] for key, several in entries.items()}
    return bodies, sum(costs, Decimal(0)), batches


def damaged(content: bytes, chance: random.Random) -> bytes:
    """One kind of damage, somewhere."""
    at = chance.randrange(len(content)) if content else 0
    size = chance.choice([1, 1, 1, 16, 300, 4096])
    kind = chance.choice(["flip", "noise", "zeros", "cut", "moved", "inserted"])
    if kind == "flip":
        flipped = content[at] ^ 1 << chance.randrange(8) if content else 0
        return content[:at] + bytes([flipped]) + content[at + 1 :]
    if kind == "noise":
        return content[:at] + chance.randbytes(size) + content[at + size :]
    if kind == "zeros":
        return content[:at] + bytes(len(content[at : at + size])) + content[at + size :]
    if kind == "cut":
        return content[:at]
    if kind == "moved":
        of = chance.randrange(len(content)) if content else 0
        return content[:at] + content[of : of + size] + content[at + size :]
    return content[:at] + chance.randbytes(size) + content[at:]


@pytest.mark.parametrize("group", range(SEEDS // GROUP))
def test_no_damage_gives_a_wrong_answer_or_cost_or_loses_anything_without_a_word(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, group: int
) -> None:
    told, refused = 0, list[str]()
    for seed in range(group * GROUP, (group + 1) * GROUP):
        chance = random.Random(seed)
        folder = tmp_path / str(seed)
        shutil.copytree(whole, folder)
        path = chance.choice(sorted(path for path in folder.iterdir() if path.is_file()))
        path.write_bytes(damaged(path.read_bytes(), chance))
        caplog.clear()
        where = f"seed {seed}, {path.name}"
        for again in range(2):
            try:
                entries, costs, batches = asyncio.run(found(folder))
            except JournalError as error:  # of a whole file nothing can be read, or its version
                told += 1
                refused.append(f"{where}: {error}")
                break
            wrong = {key for key, each in entries.items() if each != [BODIES[key]]}
            assert not wrong, where
            expected = sum(Decimal(each.cost or 0) for each in ANSWERS if each.key in entries)
            assert costs == expected, where
            assert all(each in BATCHES for each in batches), where
            lost = len(entries) < ROWS or batches != BATCHES
            assert not lost or caplog.messages, (where, again, len(entries), batches)
            told += bool(caplog.messages)
            assert all(str(folder) in each for each in caplog.messages), where
        shutil.rmtree(folder)
    assert told > 0
    assert len(refused) <= GROUP // 4, refused
    assert all(re.search(_NOTHING_IS_READ, each) for each in refused), refused


def killed(folder: Path, answers: list[Entry]) -> tuple[Path, Path]:
    """The files of a process that was killed in `folder`: its database and its log."""
    elsewhere = folder.with_name("alive")

    async def main() -> None:
        journal = Journal(elsewhere)
        for each in answers:
            await put(journal, each)
        shutil.copytree(elsewhere, folder)
        journal.close()

    asyncio.run(main())
    (file,) = folder.glob("live-*.db")
    return file, Path(f"{file}-wal")


def frames(log: Path) -> int:
    return (log.stat().st_size - 32) // (24 + 4096)


def test_a_damaged_log_says_how_much_is_lost_gives_the_rest_and_is_kept(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, log = killed(home, ANSWERS[:30])
    whole = log.read_bytes()
    middle = 32 + (24 + 4096) * (frames(log) * 2 // 3) + 100
    log.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    damaged_log = log.read_bytes()
    entries, _, _ = asyncio.run(found(home))
    assert 0 < len(entries) < 30
    assert all(each == [BODIES[key]] for key, each in entries.items())
    (said,) = caplog.messages
    lost = frames(log.with_name(f"damaged-{log.name}")) - frames_before(damaged_log)
    assert f"{30 - len(entries)} of its 30 answers are gone" in said
    assert f"{lost} frames of its write-ahead log can't be read" in said
    assert f"kept as damaged-{file.name}" in said
    assert (home / f"damaged-{log.name}").read_bytes() == damaged_log
    assert not file.exists()
    assert asyncio.run(found(home))[0] == entries
    assert len(caplog.messages) == 1


def frames_before(log: bytes) -> int:
    """How many frames sqlite reads of a log before the first that it can't."""
    return (len(log) - 32) // (24 + 4096) - unreadable_frames(log, 0)


def test_of_version_0_1_which_noted_nothing_frames_that_cant_be_read_are_told(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, log = killed(home, ANSWERS[:30])
    file.with_suffix(".lock").unlink()
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) // 2] + b"noise" + whole[len(whole) // 2 + 5 :])
    assert 0 < len(asyncio.run(found(home))[0]) < 30
    (said,) = caplog.messages
    assert "frames of its write-ahead log can't be read" in said


@pytest.mark.parametrize("noted", [True, False], ids=["with a note", "without"])
def test_a_transaction_that_hadnt_ended_and_earlier_rounds_of_the_log_are_no_damage(
    home: Path, caplog: pytest.LogCaptureFixture, noted: bool
) -> None:
    """As a kill leaves the log: 1,300 commits, so that it has begun again from its start."""
    elsewhere = home.with_name("alive")

    async def main() -> None:
        journal = Journal(elsewhere)
        for start in range(0, 2_000, 2):
            await put(journal, *(Entry(b"k%d" % n, "r", b"b", 9) for n in (start, start + 1)))
        shutil.copytree(elsewhere, home)
        journal.close()

    asyncio.run(main())
    (file,) = home.glob("live-*.db")
    if not noted:
        file.with_suffix(".lock").unlink()
    log = Path(f"{file}-wal")
    content = log.read_bytes()
    with log.open("r+b") as torn:  # the next frame, as far as it got
        salts = [content[at + 8 : at + 16] for at in range(32, len(content), 24 + 4096)]
        mine = max(at for at, each in enumerate(salts) if each == content[16:24]) + 1
        assert mine < len(salts)
        torn.seek(32 + mine * (24 + 4096))
        torn.write(b"\0\0")
    journal = Journal(home)

    async def count() -> int:
        await journal.refresh()
        return len(await journal.lookup([b"k%d" % n for n in range(2_000)]))

    assert asyncio.run(count()) == 2_000
    journal.close()
    assert caplog.messages == []
    assert not list(home.glob("damaged-*"))


def test_the_tail_of_a_killed_log_that_is_gone_is_told(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut where a transaction ends: nothing in the log can say so, the note beside it does."""
    _, log = killed(home, ANSWERS[:9])
    content = log.read_bytes()
    starts = range(32, len(content), 24 + 4096)
    commits = [at for at in starts if content[at + 4 : at + 8] != b"\0\0\0\0"]
    log.write_bytes(content[: commits[-1]])
    assert len(asyncio.run(found(home))[0]) == 8
    (said,) = caplog.messages
    assert "1 of its 9 answers are gone" in said


def test_pages_behind_one_that_cant_be_read_are_read(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(written(home, ANSWERS[:100]))
    (file,) = home.glob("live-*.db")
    content = file.read_bytes()
    leaf = [at for at in range(4096, len(content), 4096) if content[at] == 13][3]  # of a table
    file.write_bytes(content[:leaf] + b"\xff" * 4096 + content[leaf + 4096 :])
    entries, costs, _ = asyncio.run(found(home))
    assert 50 < len(entries) < 100
    assert costs == sum(Decimal(each.cost or 0) for each in ANSWERS if each.key in entries)
    (said,) = caplog.messages
    assert "malformed" in said
    assert f"{100 - len(entries)} of its 100 answers are gone" in said


def test_a_store_that_somebody_else_has_changed_rightly_is_read_as_a_whole_and_taken(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(written(home, ANSWERS[:10]))
    read_fresh(home, [])
    with sqlite3.connect(home / "answers.db") as store:
        store.execute("VACUUM")
    store.close()
    assert len(asyncio.run(found(home))[0]) == 10
    assert caplog.messages == []


def test_a_store_that_has_lost_answers_says_so_once(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(written(home, ANSWERS[:10]))
    read_fresh(home, [])
    with sqlite3.connect(home / "answers.db") as store:
        store.execute("DELETE FROM answers WHERE n % 2")
    store.close()
    for _ in range(2):
        assert len(asyncio.run(found(home))[0]) == 5
    (said,) = caplog.messages
    assert "has 5 of its 10 answers" in said


@pytest.mark.parametrize("column", ["cost = '9'", "at = at + 1", "run = 'x'", "n = n + 100"])
def test_of_a_store_with_a_changed_value_all_others_stay_and_the_file_is_kept(
    home: Path, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    asyncio.run(written(home, ANSWERS[:30], BATCHES[0]))
    read_fresh(home, [])
    with sqlite3.connect(home / "answers.db") as store:
        store.execute(f"UPDATE answers SET {column} WHERE rowid = 2")
    store.close()
    as_it_was = (home / "answers.db").read_bytes()
    for _ in range(2):
        entries, costs, batches = asyncio.run(found(home))
        assert entries == {each.key: [each.body] for each in ANSWERS[:30] if each != ANSWERS[1]}
        assert costs == sum(Decimal(ANSWERS[n].cost or 0) for n in range(30) if n != 1)
        assert batches == BATCHES[:1]
    (said,) = caplog.messages
    assert f"the journal {home / 'answers.db'} was damaged (1 answers aren't as they were" in said
    assert "29 answers could be read and stay, 1 are lost and will be paid again" in said
    assert "the damaged file is kept as damaged-answers.db" in said
    assert (home / "damaged-answers.db").read_bytes() == as_it_was


def test_a_store_that_is_damaged_again_has_its_files_kept_under_one_name_each(home: Path) -> None:
    asyncio.run(written(home, ANSWERS[:9]))
    read_fresh(home, [])
    for n in (2, 3):
        with sqlite3.connect(home / "answers.db") as store:
            store.execute("UPDATE answers SET cost = '9' WHERE rowid = ?", (n,))
        store.close()
        asyncio.run(found(home))
    names = [path.name for path in kept_aside(home)]
    assert names == ["damaged-answers-2.db", "damaged-answers.db"]
    assert len(asyncio.run(found(home))[0]) == 7


def torn(path: Path, kind: int) -> None:
    """Make noise of a leaf page of a table (13) or of an index (10)."""
    content = path.read_bytes()
    leaf = [at for at in range(4096, len(content), 4096) if content[at] == kind][1]
    path.write_bytes(content[:leaf] + b"\xff" * 4096 + content[leaf + 4096 :])


def test_a_store_that_is_torn_while_it_is_open_gives_what_is_left_and_each_answer_once(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It looks as we left it, so nobody has read all of it before."""
    asyncio.run(written(home, ANSWERS))
    read_fresh(home, [])
    path = home / "answers.db"
    stamp = path.stat().st_mtime_ns
    torn(path, 13)
    os.utime(path, ns=(stamp, stamp))
    seen: list[Entry] = []

    async def main() -> dict[bytes, list[Entry]]:
        journal = Journal(home)
        await journal.refresh()
        for n in range(3):
            await journal.visit(f"run-{n}", seen.append)
        entries = await journal.lookup(list(BODIES))
        journal.close()
        return entries

    entries = asyncio.run(main())
    assert 50 < len(entries) < ROWS
    assert all([each.body for each in both] == [BODIES[key]] for key, both in entries.items())
    assert sorted(each.key for each in seen) == sorted(set(entries))
    (said,) = caplog.messages
    assert f"{len(entries)} answers could be read and stay, {ROWS - len(entries)} are lost" in said


def test_a_store_whose_index_alone_is_damaged_has_all_of_its_answers(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(written(home, ANSWERS))
    read_fresh(home, [])
    torn(home / "answers.db", 10)
    entries, costs, _ = asyncio.run(found(home))
    assert (len(entries), costs) == (ROWS, COSTS)
    (said,) = caplog.messages
    assert f"{ROWS} answers could be read and stay; the damaged file is kept" in said


def test_a_store_of_which_nothing_can_be_read_is_an_error_and_stays_where_it_is(home: Path) -> None:
    """Nobody's answers are bought again unasked."""
    asyncio.run(written(home, ANSWERS[:9]))
    read_fresh(home, [])
    (home / "answers.db").write_bytes(b"noise" * 999)
    for _ in range(2):
        with pytest.raises(JournalError, match=r"answers\.db is damaged.*Move it away to go on"):
            asyncio.run(found(home))
    assert kept_aside(home) == []
