"""What happens to the journal under a run: full, read-only, damaged, and shared by two processes.

An answer that is shown is one that the next run finds; an error names the folder and the remedy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ondine_nb import Run
from ondine_nb.errors import JournalError
from ondine_nb.journal import files as journal_files
from tests import forks
from tests.asking import Asker, echoes, journaled, seen, statuses, texts
from tests.patience import PATIENCE
from tests.server import MessagesServer

ROOT = Path(__file__).parents[2]
# Waits for a line once all is imported, so that it can be given less rights and others can start.
SCRIPT = """
import asyncio, json, os, resource, sys
import anthropic, aiohttp, pandas as pd
from ondine_nb import Pipeline, Run
from ondine_nb.providers import find_price
url, folder, rows, start, bytes_, user = sys.argv[1:]
data = pd.DataFrame({"text": [f"text {at}" for at in range(int(start), int(start) + int(rows))]})
if int(bytes_):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(bytes_), int(bytes_)))
run = Run(Pipeline(data, "Tell: {text}", base_url=url, journal=folder, concurrency=20))
if int(user):
    os.setuid(int(user))
print("ready", flush=True)
sys.stdin.readline()
try:
    run.execute()
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
else:
    print("null")
print(json.dumps(list(run.rows["status"])))
print(json.dumps([text if isinstance(text, str) else None for text in run.frame["response"]]))
"""


class Other:
    """A run in another process; `go` starts it, `end` gives its error, statuses and answers."""

    def __init__(
        self, server: MessagesServer, folder: Path, rows: int, *, start: int = 0,
        most_bytes: int = 0, user: int = 0,
    ) -> None:  # fmt: skip
        numbers = map(str, (rows, start, most_bytes, user))
        self.process = forks.start(
            ["-c", SCRIPT, server.url, folder, *numbers],
            cwd=folder if folder.exists() else ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "ANTHROPIC_API_KEY": "key"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> Other:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self

    def end(self) -> tuple[list[str] | None, list[str], list[str | None]]:
        out, _ = self.process.communicate(timeout=PATIENCE)
        error, rows, answers = map(json.loads, out.splitlines())
        return error, rows, answers


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(latency=(0, 0.02)) as running:
        yield running


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


def check_what_is_left(asker: Asker, rows: list[str], answers: list[str | None], n: int) -> None:
    """What was shown is right and durable: the next run pays for nothing of it again."""
    shown = [at for at, status in enumerate(rows) if status == "answered"]
    right = echoes(texts(n))
    assert [answers[at] for at in shown] == [right[at] for at in shown]
    assert [at for at, answer in enumerate(answers) if answer is not None] == shown
    again = asker.run(texts(n))
    assert list(again.frame["response"]) == right
    assert journaled(again) >= len(shown)
    assert {statuses(again)[at] for at in shown} <= {"journal"}


def test_a_file_that_may_not_grow_ends_the_run_and_keeps_what_is_durable(
    server: MessagesServer, asker: Asker
) -> None:
    """The system refuses the write itself: a quota, a limit, a full disk."""
    other = Other(server, asker.folder, 600, most_bytes=150_000).go()
    error, rows, answers = other.end()
    assert error is not None
    assert error[0] == "JournalError"
    assert str(asker.folder) in error[1]
    assert "\n" not in error[1]
    assert 0 < rows.count("answered") < 600
    assert set(rows) == {"answered", "not_run"}
    paid = server.ledger.requests
    assert paid <= rows.count("answered") + 20  # what was in flight at that moment
    check_what_is_left(asker, rows, answers, 600)


def test_a_full_disk_ends_the_run_and_making_room_lets_the_next_one_go_on(
    server: MessagesServer, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = journal_files.Files.open

    def small(files: journal_files.Files) -> None:
        opened(files)
        files.live.execute("PRAGMA max_page_count=20")

    with monkeypatch.context() as patched:
        patched.setattr(journal_files.Files, "open", small)
        run = asker.run(texts(600), concurrency=20)
    assert isinstance(run.error, JournalError)
    assert f"the disk of the journal folder {asker.folder} is full" in str(run.error)
    assert "Make room, then run the cell again" in str(run.error)
    assert run.state == "failed"
    assert server.ledger.requests <= statuses(run).count("answered") + 20
    answers = [text if isinstance(text, str) else None for text in run.frame["response"]]
    rows = statuses(run)
    assert 0 < rows.count("answered") < 600
    asker.end_process()
    check_what_is_left(asker, rows, answers, 600)


def test_a_folder_that_is_read_only_is_told_before_anything_is_paid(
    server: MessagesServer,
) -> None:
    """By a user who isn't root, who may write anywhere."""
    folder = Path(tempfile.mkdtemp(prefix="ondine-read-only-"))
    folder.chmod(0o555)
    try:
        user = 65534 if os.geteuid() == 0 else 0
        error, rows, _ = Other(server, folder, 20, user=user).go().end()
    finally:
        shutil.rmtree(folder)
    assert error is not None
    assert error[0] == "JournalError"
    assert f"the journal folder {folder} can't be written" in error[1]
    assert "Set ONDINE_HOME" in error[1]
    assert (server.arrived, set(rows)) == (0, {"not_run"})


def test_two_processes_run_in_one_folder_at_the_same_time(
    server: MessagesServer, asker: Asker
) -> None:
    """Both run to their ends, and a third finds the answers of both."""
    others = [Other(server, asker.folder, 200, start=start) for start in (0, 150)]
    for other in others:
        other.go()
    for other, start in zip(others, (0, 150), strict=True):
        error, rows, answers = other.end()
        assert error is None
        assert set(rows) <= {"answered", "journal"}
        assert answers == echoes(texts(200, start))
    run = asker.run(texts(350))
    assert (journaled(run), run.cost) == (350, 0)
    assert set(server.ledger.by_prompt().values()) <= {1, 2}


def noise(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\x5a\x13noise" * (size // 7 + 1))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [noise, cut])
@pytest.mark.parametrize("kind", ["db", "db-wal"])
async def test_damage_to_the_file_in_use_is_an_error_or_harms_no_answer(
    asker: Asker, damage: Callable[[Path], None], kind: str
) -> None:
    """Somebody writes into it in mid-run. The run ends, and what it shows is right."""
    run = asker.pipeline(texts(400), concurrency=20).start()
    await seen(lambda: run.context.done_rows > 80)
    for path in asker.folder.glob(f"live-*.{kind}"):
        damage(path)
    over: list[Run] = []
    run.when_over(over.append)
    await seen(lambda: bool(over))
    assert run.state in ("done", "failed")
    if run.error is not None:
        assert isinstance(run.error, JournalError)
        assert str(asker.folder) in str(run.error)
    right = echoes(texts(400))
    for text, expected, status in zip(run.frame["response"], right, statuses(run), strict=True):
        assert text == expected if status == "answered" else text != text


@pytest.mark.parametrize("damage", [noise, cut])
def test_damage_between_runs_is_named_or_paid_for_again_and_never_a_wrong_answer(
    asker: Asker, damage: Callable[[Path], None]
) -> None:
    """Moved away, as the message says, the next run goes on."""
    asker.run(texts(100))
    asker.end_process()
    asker.run(texts(1, 1_000))  # takes the first file over into the store
    asker.end_process()
    store = asker.folder / "answers.db"
    damage(store)
    run = asker.run(texts(100))
    if run.error is None:
        assert list(run.frame["response"]) == echoes(texts(100))
        return
    assert isinstance(run.error, JournalError)
    assert str(store) in str(run.error)
    assert "Move it away" in str(run.error)
    store.rename(asker.folder / "damaged")
    asker.end_process()
    run = asker.run(texts(100))
    assert list(run.frame["response"]) == echoes(texts(100))
