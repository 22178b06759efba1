"""The journal: durable when `append` returns, read back right, merged once, damage named."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
import textwrap
import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ondine_nb.errors import JournalError
from ondine_nb.journal import files as journal_files
from ondine_nb.journal.entries import Entry
from ondine_nb.journal.journal import Journal, home, shared
from tests import forks
from tests.patience import PATIENCE

REPOSITORY = Path(__file__).parents[2]


def entry(n: int, run: str = "r", **changes: Any) -> Entry:
    """The answer to question `n`."""
    fields_ = {"key": b"key-%d" % n, "run": run, "body": b"body-%d" % n, "max_tokens": 5}
    return Entry(**{**fields_, **changes})


async def put(journal: Journal, *entries: Entry) -> None:
    await asyncio.gather(*(journal.append(one) for one in entries))


async def bodies(journal: Journal, numbers: Sequence[int], run: str | None = None) -> list[bytes]:
    """All answers to these questions, in order."""
    found = await journal.lookup([b"key-%d" % n for n in numbers], run)
    return [one.body for n in numbers for one in found.get(b"key-%d" % n, [])]


def live_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("live-*.db"))


def written_by_another(folder: Path, numbers: Sequence[int], run: str = "old") -> None:
    """Answers of a process that ended."""
    journal = Journal(folder)
    asyncio.run(put(journal, *(entry(n, run) for n in numbers)))
    journal.close()


def read_fresh(folder: Path, numbers: Sequence[int]) -> list[bytes]:
    """What the next process finds."""
    journal = Journal(folder)

    async def main() -> list[bytes]:
        await journal.refresh()
        return await bodies(journal, numbers)

    try:
        return asyncio.run(main())
    finally:
        journal.close()


def process(folder: Path, code: str) -> forks.Process:
    """Runs `code` in a process with a journal `j` in `folder`."""
    head = f"""
        import asyncio, os, signal, sys
        from pathlib import Path
        from ondine_nb.journal import Journal
        from tests.journal.test_journal import bodies, entry, put
        j = Journal(Path({str(folder)!r}))
    """
    script = textwrap.dedent(head) + textwrap.dedent(code)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return forks.start(["-c", script], cwd=REPOSITORY, **pipes)


# --- one process


async def test_an_entry_comes_back_as_it_was(home: Path) -> None:
    journal = Journal(home)
    full = entry(
        1,
        begins=True,
        latency=0.25,
        model="m",
        cost="0.000012345678901234567890",
        body=bytes(range(256)) * 40,
        at=123.456,
    )
    await put(journal, full)
    assert (await journal.lookup([full.key])) == {full.key: [full]}
    journal.close()


async def test_beside_damage_only_what_is_really_there_is_acknowledged(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of them shared the damaged one's transaction."""
    journal = Journal(home)
    insert = journal_files.Files.insert

    def damaged(files: Any, one: Entry) -> None:
        if one.key == b"key-2":
            raise sqlite3.DatabaseError("database disk image is malformed")
        insert(files, one)

    monkeypatch.setattr(journal_files.Files, "insert", damaged)
    batch = (journal.append(entry(n)) for n in (1, 2, 3))
    outcomes = await asyncio.gather(*batch, return_exceptions=True)
    told_durable = [n for n, said in zip((1, 2, 3), outcomes, strict=True) if said is None]
    assert isinstance(outcomes[1], JournalError)
    assert await bodies(journal, [1, 2, 3]) == [b"body-%d" % n for n in told_durable]
    journal.close()


async def test_a_commit_is_on_the_disk_when_it_returns_and_the_file_is_this_processs(
    home: Path,
) -> None:
    """What a kill can't show: without FULL only a power failure would lose answers."""
    journal = Journal(home)
    pragmas = ("synchronous", "journal_mode", "locking_mode")

    def read(files: Any) -> list[Any]:
        return [files.live.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]

    assert await journal._ask(read) == [2, "wal", "exclusive"]
    journal.close()


async def test_lookup_finds_many_and_leaves_out_what_isnt_there(home: Path) -> None:
    journal = Journal(home)
    await put(journal, *(entry(n) for n in range(1300)))
    assert await bodies(journal, range(1400)) == [b"body-%d" % n for n in range(1300)]
    assert await journal.lookup([]) == {}
    journal.close()


async def test_with_a_run_only_its_own_answers_count(home: Path) -> None:
    written_by = Journal(home)
    await put(written_by, entry(1, "a"), entry(2, "b"))
    assert await bodies(written_by, [1, 2], run="b") == [b"body-2"]
    written_by.close()


async def test_an_unreadable_body_is_kept_but_is_no_answer(home: Path) -> None:
    journal = Journal(home)
    await put(journal, entry(1, readable=False), entry(2))
    assert await bodies(journal, [1, 2]) == [b"body-2"]
    journal.close()
    (path,) = live_files(home)
    with sqlite3.connect(path) as kept:
        assert kept.execute("SELECT count(*) FROM answers").fetchone() == (2,)
    kept.close()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 9)), min_size=1, max_size=8),
    st.booleans(),
)
def test_answers_are_valid_since_the_question_was_last_asked_anew(
    tmp_path: Path, answers: list[tuple[bool, bool, float]], merging: bool
) -> None:
    """In the order of writing, whatever the clock said, over processes that follow one another.

    Of each answer: whether it begins anew, whether another process gives it, and the time.
    """
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    journal = Journal(folder)
    for at, (begins, restarted, clock) in enumerate(answers):
        if restarted:
            journal.close()
            journal = Journal(folder)
            if merging:
                asyncio.run(journal.refresh())
        asyncio.run(put(journal, entry(1, body=b"%d" % at, begins=begins, at=clock)))
    journal.close()
    last = max((at for at, (begins, *_) in enumerate(answers) if begins), default=0)
    assert read_fresh(folder, [1]) == [b"%d" % at for at in range(last, len(answers))]


def test_of_two_kernels_at_once_the_later_run_is_the_later_one_however_they_end(
    home: Path,
) -> None:
    first, second = Journal(home), Journal(home)

    async def asks_anew(journal: Journal, body: bytes, at: float) -> None:
        await journal.refresh()
        await put(journal, entry(1, body=body, at=at, begins=True))

    asyncio.run(asks_anew(second, b"oldest", 30.0))
    asyncio.run(asks_anew(first, b"older", 20.0))
    asyncio.run(asks_anew(second, b"newest", 10.0))
    second.close()
    assert read_fresh(home, [1]) == [b"newest"]
    first.close()
    assert read_fresh(home, [1]) == [b"newest"]
    (home / "lock").unlink()
    again = Journal(home)
    asyncio.run(asks_anew(again, b"after the lock was deleted", 0.0))
    again.close()
    assert read_fresh(home, [1]) == [b"after the lock was deleted"]


async def test_the_folder_ignores_itself_in_git_and_keeps_a_users_own_word(home: Path) -> None:
    journal = Journal(home)
    await put(journal, entry(1))
    journal.close()
    assert (home / ".gitignore").read_text() == "*\n"
    (home / ".gitignore").write_text("mine\n")
    again = Journal(home)
    await put(again, entry(2))
    again.close()
    assert (home / ".gitignore").read_text() == "mine\n"


async def test_nothing_is_written_before_the_first_use(home: Path) -> None:
    journal = Journal(home)
    assert not home.exists()
    journal.close()
    assert not home.exists()


async def test_a_closed_journal_says_so_and_closing_again_does_nothing(home: Path) -> None:
    journal = Journal(home)
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        await journal.append(entry(1))


async def test_closing_writes_what_is_queued(home: Path) -> None:
    journal = Journal(home)
    waiting = [asyncio.create_task(journal.append(entry(n))) for n in range(300)]
    await asyncio.sleep(0)
    await asyncio.to_thread(journal.close)
    await asyncio.gather(*waiting)
    assert len(await asyncio.to_thread(read_fresh, home, range(300))) == 300


async def test_an_append_that_is_cancelled_harms_nobody(home: Path) -> None:
    journal = Journal(home)
    first, second = (asyncio.create_task(journal.append(entry(n))) for n in (1, 2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    await put(journal, entry(3))
    assert await bodies(journal, [2, 3]) == [b"body-2", b"body-3"]
    journal.close()


@pytest.mark.parametrize(
    "bad",
    [entry(9, max_tokens=2**63), entry(9, model="\ud800"), entry(9, run=["no", "text"])],  # type: ignore[arg-type]
    ids=["too large a number", "half a character", "no text"],
)
async def test_an_entry_that_cant_be_kept_fails_alone_and_never_hangs(
    home: Path, bad: Entry
) -> None:
    journal = Journal(home)
    async with asyncio.timeout(PATIENCE):
        # Queued at once, so that all of them are in one transaction.
        batch = (journal.append(one) for one in (entry(1), bad, entry(2)))
        first, second, third = await asyncio.gather(*batch, return_exceptions=True)
        assert (first, type(second), third) == (None, JournalError, None)
        assert await bodies(journal, [1, 2]) == [b"body-1", b"body-2"]
    journal.close()


def test_many_loops_in_many_threads_share_one_journal(home: Path) -> None:
    journal, wrong = Journal(home), []

    async def main(base: int) -> None:
        await put(journal, *(entry(base + n) for n in range(50)))
        if len(await bodies(journal, range(base, base + 50))) != 50:
            wrong.append(base)

    threads = [threading.Thread(target=lambda b=b: asyncio.run(main(b * 100))) for b in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []
    journal.close()
    assert len(read_fresh(home, range(800))) == 400


def test_asking_and_closing_at_once_never_hangs(home: Path) -> None:
    """Whoever is behind the close hears of it."""

    async def forever(journal: Journal) -> None:
        while True:
            await journal.append(entry(1))

    async def asks(journal: Journal) -> None:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(JournalError, match="closed"):
                await forever(journal)

    for _ in range(15):
        journal = Journal(home)
        closing = threading.Timer(0.01, journal.close)
        closing.start()
        asyncio.run(asks(journal))
        closing.join()


# --- the folder


def test_the_folder_is_fixed_for_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONDINE_HOME")
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path / ".ondine"
    monkeypatch.setenv("ONDINE_HOME", str(tmp_path / "else"))
    assert home() == tmp_path / ".ondine"


def test_one_journal_a_folder_and_a_new_one_after_its_close(home: Path, tmp_path: Path) -> None:
    first = shared()
    assert first.folder == home
    assert shared(str(home)) is first
    assert shared(tmp_path / "other") is not first
    first.close()
    assert shared() is not first


# --- kills and other processes


@pytest.mark.slow
def test_nothing_acknowledged_is_missing_after_a_sigkill(home: Path) -> None:
    code = """
        async def one(n):
            await j.append(entry(n))
            print(n, flush=True)
        async def main():
            await asyncio.gather(*(worker(k) for k in range(16)))
        async def worker(k):
            for n in range(k, 10**9, 16):
                await one(n)
        asyncio.run(main())
    """
    child = process(home, code)
    assert child.stdout is not None
    acknowledged = [int(child.stdout.readline()) for _ in range(400)]
    child.kill()
    acknowledged += [int(line) for line in child.stdout.read().splitlines() if line]
    child.wait()
    assert len(acknowledged) >= 400
    assert read_fresh(home, acknowledged) == [b"body-%d" % n for n in acknowledged]
    assert len(live_files(home)) == 1  # the reader's own: the killed one's is merged


def test_two_processes_work_in_one_folder_at_the_same_time(home: Path) -> None:
    """Neither sees the other's answers before its end, neither is held up, none is lost."""
    code = """
        async def main(base):
            for n in range(base, base + 100):
                await j.refresh()
                await j.append(entry(n))
        asyncio.run(main(int(sys.stdin.readline())))
        j.close()
    """
    children = [process(home, code) for _ in range(2)]
    for child, base in zip(children, (0, 1000), strict=True):
        assert child.stdin is not None
        child.stdin.write(f"{base}\n")
        child.stdin.flush()
    assert [child.wait(PATIENCE) for child in children] == [0, 0]
    numbers = [*range(100), *range(1000, 1100)]
    assert read_fresh(home, numbers) == [b"body-%d" % n for n in numbers]


def test_a_live_file_is_never_merged(home: Path) -> None:
    code = """
        asyncio.run(put(j, entry(1)))
        print("there", flush=True)
        sys.stdin.read()
        asyncio.run(put(j, entry(2)))
        j.close()
    """
    child = process(home, code)
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    (theirs,) = live_files(home)
    assert read_fresh(home, [1, 2]) == []
    assert theirs.exists()
    child.stdin.close()
    assert child.wait(PATIENCE) == 0
    assert read_fresh(home, [1, 2]) == [b"body-1", b"body-2"]
    assert not theirs.exists()


def test_files_of_ended_processes_are_merged_once(home: Path) -> None:
    for base in (0, 10, 20):
        written_by_another(home, range(base, base + 5))
    assert len(live_files(home)) == 3
    numbers = [*range(5), *range(10, 15), *range(20, 25)]
    for _ in range(3):
        assert read_fresh(home, numbers) == [b"body-%d" % n for n in numbers]
    with sqlite3.connect(home / "answers.db") as store:
        assert store.execute("SELECT count(*) FROM answers").fetchone() == (15,)
    store.close()


def test_a_merge_interrupted_before_it_deletes_is_not_merged_twice(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_by_another(home, range(5))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", _killed)
        with pytest.raises(JournalError):
            read_fresh(home, range(5))
    assert len(live_files(home)) >= 1
    assert read_fresh(home, range(5)) == [b"body-%d" % n for n in range(5)]


def _killed(*_: object, **__: object) -> None:
    raise OSError("killed here")


def test_a_process_killed_before_its_first_entry_is_cleared_away(home: Path) -> None:
    home.mkdir()
    (home / "live-1-00000000.db").touch()
    assert read_fresh(home, [1]) == []
    assert not (home / "live-1-00000000.db").exists()


def test_a_store_that_is_only_just_created_is_read_as_empty(home: Path) -> None:
    home.mkdir()
    (home / "answers.db").touch()
    assert read_fresh(home, [1]) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_a_journal_of_its_own_and_leaves_the_parents_whole(home: Path) -> None:
    """Closing sqlite's file in the child would take the WAL away under the parent."""
    code = """
        from ondine_nb.errors import JournalError
        from ondine_nb.journal import shared
        mine = shared()
        asyncio.run(put(mine, entry(1)))
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(put(mine, entry(8)))
            except JournalError:
                asyncio.run(put(shared(), entry(2)))
            sys.exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
        asyncio.run(put(mine, entry(3)))
        print("kept", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    parent = process(home, code)
    assert parent.stdout is not None
    assert parent.communicate(timeout=PATIENCE)[0].split() == ["0", "kept"]
    assert read_fresh(home, [1, 2, 3, 8]) == [b"body-1", b"body-2", b"body-3"]


# --- damage


def test_a_folder_that_cant_be_written_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(JournalError, match=r"can't be written.*ONDINE_HOME"):
            written_by_another(folder, [1])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), "can't be written.*ONDINE_HOME"),
        (OSError(30, "Read-only file system"), "can't be written.*ONDINE_HOME"),
        (OSError(28, "No space left on device"), "disk of the journal folder.*is full"),
        (sqlite3.OperationalError("database or disk is full"), "disk.*is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "can't be written"),
        (RuntimeError("anything"), "failed: RuntimeError: anything"),
    ],
    ids=str,
)
async def test_what_the_disk_says_is_explained_and_the_journal_goes_on_after_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    journal = Journal(home)

    def fails(_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(journal_files.Files, "commit", fails)
        with pytest.raises(JournalError, match=said):
            await journal.append(entry(1))
    await put(journal, entry(2))
    assert await bodies(journal, [1, 2]) == [b"body-2"]
    journal.close()


@pytest.mark.parametrize(
    "noise", [b"not a database at all" * 300, b"\0" * 5000], ids=["text", "zeros"]
)
def test_noise_in_the_store_is_a_clear_error_and_loses_nothing(home: Path, noise: bytes) -> None:
    written_by_another(home, [1])
    read_fresh(home, [1])
    written_by_another(home, [2])
    (home / "answers.db").write_bytes(noise)
    with pytest.raises(JournalError, match=r"answers\.db.*Move it away"):
        read_fresh(home, [2])
    (home / "answers.db").unlink()
    assert read_fresh(home, [2]) == [b"body-2"]


def test_noise_in_the_middle_of_the_store_is_an_error_or_leaves_answers_right(home: Path) -> None:
    written_by_another(home, range(400))
    read_fresh(home, [1])
    store = home / "answers.db"
    whole = store.read_bytes()
    for at in range(200, len(whole), len(whole) // 12):
        store.write_bytes(whole[:at] + b"\x5a" * 700 + whole[at + 700 :])
        try:
            found = read_fresh(home, range(400))
        except JournalError:
            continue
        assert set(found) <= {b"body-%d" % n for n in range(400)}


def test_a_body_that_cant_be_unpacked_is_a_clear_error_and_never_hangs(home: Path) -> None:
    written_by_another(home, [1])
    read_fresh(home, [1])
    with sqlite3.connect(home / "answers.db") as store:
        store.execute("UPDATE answers SET body = x'0102'")
    store.close()
    with pytest.raises(JournalError, match=r"answers\.db.*Move it away"):
        read_fresh(home, [1])


def test_noise_in_an_ended_processs_file_is_a_clear_error_and_loses_nothing(home: Path) -> None:
    written_by_another(home, [1])
    written_by_another(home, [2])
    first, second = live_files(home)
    kept, noise = first.read_bytes(), b"noise" * 2000
    first.write_bytes(noise)
    with pytest.raises(JournalError, match=f"{first.name}.*Move it away"):
        read_fresh(home, [1, 2])
    assert first.read_bytes() == noise
    first.write_bytes(kept)
    assert sorted(read_fresh(home, [1, 2])) == [b"body-1", b"body-2"]
    assert not second.exists()


@pytest.mark.parametrize("which", ["store", "live", "store while merging"])
def test_a_newer_file_is_a_clear_error_and_stays_as_it_is(home: Path, which: str) -> None:
    written_by_another(home, [1])
    if which != "live":
        read_fresh(home, [1])
    if which == "store while merging":
        written_by_another(home, [2])
    path = live_files(home)[0] if which == "live" else home / "answers.db"
    set_version(path, 2)
    with pytest.raises(JournalError, match=f"{path.name} has version 2, newer than 1.*Upgrade"):
        read_fresh(home, [1])
    assert set_version(path, 1) == 2
    assert read_fresh(home, [1]) == [b"body-1"]


def set_version(path: Path, version: int) -> int:
    """Gives the version that it had."""
    with sqlite3.connect(path) as file:
        had: int = file.execute("PRAGMA user_version").fetchone()[0]
        file.execute(f"PRAGMA user_version={version}")
    file.close()
    return had


def test_the_folders_lock_is_waited_for_a_bounded_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(journal_files, "_LOCK_WAIT_SECONDS", 0.05)
    home.mkdir()
    with (home / "lock").open("a+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(JournalError, match="another process holds the journal's lock"):
            written_by_another(home, [1])
    written_by_another(home, [1])


async def test_the_writer_thread_outlives_an_entry_it_cant_write(home: Path) -> None:
    journal = Journal(home)
    thread = journal._thread
    with pytest.raises(JournalError):
        await journal.append(entry(1, max_tokens=2**70))
    assert thread.is_alive()
    journal.close()
    assert not thread.is_alive()


def test_a_folder_that_is_deleted_begins_anew(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> tuple[int, int]:
        journal = Journal(home)
        await journal.append(entry(1))
        shutil.rmtree(home)
        await journal.append(entry(2))
        found = await journal.lookup([entry(1).key, entry(2).key])
        journal.close()
        return len(found), len(live_files(home))

    assert asyncio.run(main()) == (1, 1)
    assert [record.message.endswith("the journal begins anew") for record in caplog.records] == [
        True
    ]
    assert read_fresh(home, [1, 2]) == [entry(2).body]


def test_a_large_file_of_an_ended_process_is_merged_in_little_memory(home: Path) -> None:
    noise = [random.Random(n).randbytes(20_000) for n in range(1_000)]

    async def write() -> None:
        journal = Journal(home)
        await asyncio.gather(*(journal.append(entry(n, body=noise[n])) for n in range(1_000)))
        journal.close()

    async def merge() -> int:
        journal = Journal(home)
        tracemalloc.start()
        await journal.refresh()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        found = await journal.lookup([entry(n).key for n in (0, 999)])
        assert [each[0].body for each in found.values()] == [noise[0], noise[999]]
        journal.close()
        return peak

    asyncio.run(write())
    assert asyncio.run(merge()) < 2_000_000  # of 20 million bytes
