"""A journal file lives as long as its process, whoever reads it, and what is lost is put back."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ondine_nb.journal import Journal
from ondine_nb.journal.locks import FileLock
from tests.journal.test_journal import (
    REPOSITORY,
    bodies,
    entry,
    live_files,
    process,
    put,
    read_fresh,
    written_by_another,
)

posix_only = pytest.mark.skipif(os.name == "nt", reason="what is open can't be deleted there")


def read_all(folder: Path, tmp_path: Path) -> None:
    """As the cell in docs/privacy.md does."""
    b"".join(path.read_bytes() for path in folder.rglob("*.*"))


def copy(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copied", dirs_exist_ok=True)


def archive(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "kept.zip", "w") as kept:
        for path in folder.rglob("*.*"):
            kept.write(path)


READERS = [read_all, copy, archive]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_whoever_reads_the_folder_in_the_kernel_two_other_processes_leave_its_file_alone(
    home: Path, tmp_path: Path, reader: Callable[[Path, Path], None]
) -> None:
    """Closing a descriptor of sqlite's file drops sqlite's own locks of the whole process."""
    code = """
        async def main():
            await j.refresh()
            print(len(await bodies(j, [1, 2])), flush=True)
        asyncio.run(main())
        sys.stdin.read()
    """

    async def main() -> None:
        journal = Journal(home)
        await put(journal, entry(1))
        (own,) = live_files(home)
        reader(home, tmp_path)
        others = [process(home, code) for _ in range(2)]
        for other in others:
            assert other.stdout is not None
            assert await asyncio.to_thread(other.stdout.readline) == "0\n"
        assert own.exists()
        await put(journal, entry(2))
        assert await bodies(journal, [1, 2]) == [b"body-1", b"body-2"]
        for other in others:
            other.communicate()
        journal.close()

    asyncio.run(main())
    assert read_fresh(home, [1, 2]) == [b"body-1", b"body-2"]


def unlinked(file: Path) -> None:
    file.unlink()


def replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    other.replace(file)


def renamed(file: Path) -> None:
    file.rename(file.with_name("renamed"))


@posix_only
@pytest.mark.parametrize("suffix", [".db", ".db-wal", ".lock"])
@pytest.mark.parametrize("lose", [unlinked, replaced, renamed], ids=lambda lose: lose.__name__)
def test_a_file_that_is_gone_is_noticed_before_the_next_answer_is_acknowledged(
    home: Path, caplog: pytest.LogCaptureFixture, suffix: str, lose: Callable[[Path], None]
) -> None:
    """Killed at once after it, the process has lost nothing, and nothing is there twice."""
    code = """
        async def main():
            await put(j, *(entry(n) for n in range(1, 50)))
            print("there", flush=True)
            sys.stdin.readline()
            await put(j, entry(50))
            found = await j.lookup([b"key-%d" % n for n in range(1, 51)])
            print(sum(map(len, found.values())), flush=True)
            sys.stdin.readline()
        asyncio.run(main())
    """
    child = process(home, code)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    (file,) = live_files(home)
    lose(file.with_suffix(suffix))
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.stdout.readline() == "50\n"
    child.kill()
    child.communicate()
    assert sorted(read_fresh(home, range(51))) == sorted(b"body-%d" % n for n in range(1, 51))


@posix_only
def test_answers_that_others_took_over_are_neither_lost_nor_told_twice(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The lock and the file are taken away under it, as a process without locks would do."""

    async def main() -> None:
        journal = Journal(home)
        await put(journal, entry(1, cost="0.5"), entry(2, cost="0.25"))
        (own,) = live_files(home)
        kept = {path.name: path.read_bytes() for path in home.glob("live-*.db*")}
        elsewhere = home.with_name("elsewhere")
        elsewhere.mkdir()
        for name, content in kept.items():
            (elsewhere / name).write_bytes(content)
        assert len(await asyncio.to_thread(read_fresh, elsewhere, [1, 2])) == 2
        shutil.copy(elsewhere / "answers.db", home / "answers.db")
        for path in home.glob("live-*"):
            path.unlink()
        await put(journal, entry(3, cost="0.125"))
        assert await bodies(journal, [1, 2, 3]) == [b"body-1", b"body-2", b"body-3"]
        found = await journal.lookup([b"key-1"], "r", earlier=False)
        assert [each.body for each in found[b"key-1"]] == [b"body-1"]
        assert sorted([bill.cost async for bill in journal.bills()]) == ["0.125", "0.25", "0.5"]
        assert live_files(home) != [own]
        journal.close()

    asyncio.run(main())
    assert read_fresh(home, [1, 2, 3]) == [b"body-1", b"body-2", b"body-3"]
    assert any("deleted or replaced while it was in use" in each for each in caplog.messages)


def test_the_lock_of_a_process_whose_file_was_deleted_says_how_much_is_lost(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written_by_another(home, range(7))
    (file,) = live_files(home)
    file.unlink()
    for _ in range(2):
        assert read_fresh(home, range(7)) == []
    (said,) = caplog.messages
    assert f"{file} was deleted" in said
    assert "7 answers are lost" in said


def test_a_file_of_version_0_1_without_a_lock_is_taken_over(home: Path) -> None:
    written_by_another(home, [1])
    (file,) = live_files(home)
    file.with_suffix(".lock").unlink()
    assert read_fresh(home, [1]) == [b"body-1"]
    assert not file.exists()


def test_a_lock_is_one_processs_and_free_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "it.lock"
    code = f"""
import sys
from pathlib import Path
from ondine_nb.journal.locks import FileLock
lock = FileLock.take(Path({str(path)!r}))
print("held", flush=True)
sys.stdin.read()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    assert FileLock.take(path) is None
    path.read_bytes()
    assert FileLock.take(path) is None
    child.kill()
    child.communicate()
    again = FileLock.take(path)
    assert again is not None
    again.release(delete=True)
    assert not path.exists()


@posix_only
def test_a_lock_whose_file_was_deleted_locks_nothing_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "it.lock"
    first = FileLock.take(path)
    assert first is not None
    path.unlink()
    second = FileLock.take(path)
    assert second is not None
    assert FileLock.take(path) is None
    first.release()
    second.release()


def test_a_file_system_without_locks_goes_on_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with caplog.at_level(logging.WARNING):
        written_by_another(tmp_path / "home", [1])
        assert read_fresh(tmp_path / "home", [1]) == [b"body-1"]
    assert caplog.messages == []
