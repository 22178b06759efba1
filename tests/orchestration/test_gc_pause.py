"""The collector walks through nothing in vain while a run goes on, and through all afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ondine_nb.orchestration.gc_pause import GcPause
from tests.asking import Asker, statuses, texts
from tests.server import MessagesServer


@pytest.fixture(autouse=True)
def _nothing_set_aside() -> Iterator[None]:
    assert gc.get_freeze_count() < 1_000  # Python 3.12 has set some hundred aside
    gc.unfreeze()
    yield
    assert gc.get_freeze_count() == 0


def test_what_there_is_goes_aside_and_comes_back() -> None:
    collector = GcPause()
    collector.begin()
    assert gc.get_freeze_count() > 1_000
    collector.end()
    assert gc.get_freeze_count() == 0


def test_what_a_new_interpreter_has_set_aside_is_nobody_s() -> None:
    code = """
import gc
from ondine_nb.orchestration.gc_pause import GcPause
before, collector = gc.get_freeze_count(), GcPause()
collector.begin()
print(gc.get_freeze_count() > before + 1_000)
collector.end()
print(gc.get_freeze_count())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n0\n"


def test_the_last_run_brings_it_back() -> None:
    one, other = GcPause(), GcPause()
    one.begin()
    other.begin()
    one.end()
    assert gc.get_freeze_count() > 1_000
    other.end()


def test_many_rows_go_aside_too() -> None:
    collector = GcPause()
    collector.begin()
    before, rows = gc.get_freeze_count(), [[] for _ in range(5_000)]
    collector.grown(24_999)
    assert gc.get_freeze_count() <= before
    collector.grown(25_000)
    assert gc.get_freeze_count() > before + len(rows) - 1_000
    collector.end()


def test_what_somebody_else_has_set_aside_stays_so() -> None:
    gc.freeze()
    collector = GcPause()
    collector.begin()
    collector.end()
    assert gc.get_freeze_count() > 1_000
    gc.unfreeze()


def test_a_collector_that_is_off_is_left_alone() -> None:
    gc.disable()
    try:
        collector = GcPause()
        collector.begin()
        assert gc.get_freeze_count() == 0
        collector.end()
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_run_sets_aside_and_brings_back(server: MessagesServer, tmp_path: Path) -> None:
    seen: list[int] = []

    class Watch:
        def __getattr__(self, name: str) -> object:
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda *_: seen.append(gc.get_freeze_count())

    run = Asker(server, tmp_path).run(texts(20), observers=[Watch()])
    assert statuses(run) == ["answered"] * 20
    assert max(seen) > 1_000


def test_a_run_has_fewer_collections_and_the_thresholds_come_back() -> None:
    before, one, other = gc.get_threshold(), GcPause(), GcPause()
    one.begin()
    other.begin()
    assert gc.get_threshold()[0] > before[0]
    one.end()
    assert gc.get_threshold()[0] > before[0]
    other.end()
    assert gc.get_threshold() == before


@pytest.mark.parametrize("theirs", [(50_000, 20, 20), (2_000, 20, 20)])
@pytest.mark.parametrize("when", ["before", "during"])
def test_thresholds_that_somebody_else_has_set_stay(
    when: str, theirs: tuple[int, int, int]
) -> None:
    before, collector = gc.get_threshold(), GcPause()
    try:
        if when == "before":
            gc.set_threshold(*theirs)
        collector.begin()
        if when == "during":
            gc.set_threshold(*theirs)
        assert gc.get_threshold() == theirs
        collector.end()
        assert gc.get_threshold() == theirs
    finally:
        gc.set_threshold(*before)
