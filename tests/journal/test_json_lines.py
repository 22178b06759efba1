"""JSON lines beside the answers: who asks to be alone is, and what others wrote is read first."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ondine_nb.errors import JournalError
from ondine_nb.journal import JsonLines, json_line_sets, line_id


def anything(line: Mapping[str, Any]) -> None:
    """No line is wrong."""


def lines(name: str = "set", kind: str = "things") -> JsonLines:
    return JsonLines(kind, name, None, check=anything, one="thing")


COUNTER = """
import sys
from tests.journal.test_json_lines import lines
found = lines()
for _ in range(int(sys.argv[1])):
    with found.alone():
        found.append([{"count": max((it["count"] for it in found.lines), default=0) + 1}])
"""


def test_two_processes_that_count_alone_give_no_number_twice(home: Path) -> None:
    start = [sys.executable, "-c", COUNTER, "30"]
    for running in [subprocess.Popen(start) for _ in range(2)]:
        assert running.wait() == 0
    assert [line["count"] for line in lines().lines] == list(range(1, 61))


def test_two_threads_with_sets_of_their_own_count_alone_too(home: Path) -> None:
    def count() -> None:
        found = lines()
        for _ in range(15):
            with found.alone():
                last = max((it["count"] for it in found.lines), default=0)
                found.append([{"count": last + 1}])

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line["count"] for line in lines().lines) == list(range(1, 46))


def test_kinds_and_sets_dont_meet_and_each_line_has_a_name_of_its_own(home: Path) -> None:
    lines().append([{"a": 1}, {"a": 2}])
    lines(kind="others").append([{"a": 3}])
    found = lines().lines
    assert [line["a"] for line in found] == [1, 2]
    assert len({line_id(line) for line in found}) == 2
    assert (json_line_sets("things"), json_line_sets("others")) == (["set"], ["set"])


def test_a_folder_that_cant_be_written_is_an_error_that_says_what_to_do(home: Path) -> None:
    home.write_text("in the way")
    with pytest.raises(JournalError, match=r"a thing can.t be written to .* set ONDINE_HOME"):
        lines().append([{"a": 1}])
    with pytest.raises(JournalError, match="a thing can't be written"), lines().alone():
        pass
