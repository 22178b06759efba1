"""Quotes are found in a process of their own, which is gone when nobody asks it any more."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ondine_nb.evaluation.evidence import Finder, QuoteFinder

from .quoting import QUOTES, quoted, rows

TEXT = "Nobody told us what it would cost in the end, and it wasn't cheap: 20 dollars a head."
MISSPELT = "told us waht it would cost in the end"
# Without `if __name__ == "__main__"`, as a user's own script is.
SCRIPT = f"""
import sys
from ondine_nb.evaluation.evidence import QuoteFinder
finder = QuoteFinder()
found = finder.find({{"text": {TEXT!r}}}, [{MISSPELT!r}])
print(found[{MISSPELT!r}].match, finder._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def finder() -> Iterator[QuoteFinder]:
    made = QuoteFinder()
    yield made
    made.close()


@pytest.mark.slow
def test_it_finds_what_is_found_within_the_process(finder: QuoteFinder) -> None:
    for text, dice in rows(3):
        quotes = [it for kind in QUOTES if (it := quoted(text, kind, dice)) is not None]
        here = {quote: Finder({"text": text}).find(quote) for quote in quotes}
        assert finder.find({"text": text}, quotes) == here


def test_the_search_isn_t_done_here(finder: QuoteFinder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Finder, "find")
    text = "\n".join([text for text, _ in rows(3)])
    wrong = "".join(random.Random(1).sample(MISSPELT, len(MISSPELT)))
    found = finder.find({"other": TEXT, "long": text}, [MISSPELT, wrong])
    assert found[MISSPELT].match == "near"
    assert found[MISSPELT].column == "other"
    assert found[wrong].match == "missing"


def test_where_the_process_dies_or_can_t_be_started_quotes_are_found_here(
    finder: QuoteFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finder.find({"text": TEXT}, [MISSPELT])[MISSPELT].match == "near"
    assert finder._process is not None
    finder._process.kill()
    finder._process.wait()
    assert finder.find({"text": TEXT}, [MISSPELT])[MISSPELT].match == "near"
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert QuoteFinder().find({"text": TEXT}, [MISSPELT])[MISSPELT].match == "near"


def test_the_process_is_ended_by_close_and_started_anew_when_it_is_needed(
    finder: QuoteFinder,
) -> None:
    finder.find({"text": TEXT}, [MISSPELT])
    first = finder._process
    assert first is not None
    finder.close()
    finder.close()
    assert first.poll() is not None
    finder.find({"text": TEXT}, [MISSPELT])
    assert finder._process is not None
    assert finder._process.pid != first.pid


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to look at")
def test_it_works_for_any_script_and_ends_with_it_however_that_ends(tmp_path: Path) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit('not this one')\n")
    script = tmp_path / "elsewhere" / "job.py"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        match, pid = parent.stdout.readline().split()
        assert match == "near"
        child = Path(f"/proc/{pid}/stat")
        assert child.exists()
        parent.send_signal(signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it is gone
        while child.read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)  # it ends when it finds the pipe closed
