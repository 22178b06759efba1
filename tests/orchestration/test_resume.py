"""The worked example of resuming, killed in the middle: nothing that was answered is paid twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.docs.pages import DOCS, ROOT, blocks
from tests.patience import PATIENCE

_AT_ONCE = 4  # as the page has it


def _script() -> str:
    page = (DOCS / "reference" / "orchestration.md").read_text(encoding="utf-8")
    return next(each.body for each in blocks(page) if "paid_service" in each.body)


def _start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _kept(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "answers.db", timeout=PATIENCE)) as found:
        try:
            return {text for (text,) in found.execute("select text from kept")}
        except sqlite3.OperationalError:  # the table isn't there yet
            return set()


def test_the_example_pays_nothing_twice_wherever_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_script(), encoding="utf-8")
    twice = 0
    for least in (5, 40):
        process = _start(tmp_path)
        deadline = time.monotonic() + PATIENCE
        while len(_kept(tmp_path)) < least:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        kept = _kept(tmp_path)
        paid = Counter((tmp_path / "paid.log").read_text().split("\n")[:-1])
        twice += len(set(paid) - kept)  # in flight at the kill: these alone are asked again
        assert len(set(paid) - kept) <= _AT_ONCE
    out, problems = _start(tmp_path).communicate(timeout=PATIENCE)
    assert (out, problems) == ("100 rows for $0.100\n", "")
    paid = Counter((tmp_path / "paid.log").read_text().split("\n")[:-1])
    assert len(paid) == 100
    assert paid.total() <= 100 + twice
    again, _ = _start(tmp_path).communicate(timeout=PATIENCE)
    assert again == out
    assert Counter((tmp_path / "paid.log").read_text().split("\n")[:-1]) == paid
