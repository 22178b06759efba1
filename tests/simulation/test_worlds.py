"""What a run promises holds in worlds of faults that are drawn from seeds."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

from .worlds import World

SEEDS, PART = 500, 25


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_nothing_is_lost_paid_twice_or_shown_otherwise_than_it_is(
    first: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "ondine_nb")  # until the test ends
    for seed in range(first, first + PART):
        try:
            World(seed).live()
        except Exception as error:
            error.add_note(f"replay: python -m tests.simulation --seed {seed} -v")
            raise


def test_a_seed_gives_the_same_world_and_the_same_steps_again() -> None:
    for seed in range(7, 400, 40):
        lives = [World(seed), World(seed)]
        for world in lives:
            world.live()
        once, again = lives
        assert once.steps == again.steps
        assert [_without_run(each) for each in once.wire.ledger] == [
            _without_run(each) for each in again.wire.ledger
        ]


BUSY_WORKERS = """
import multiprocessing, time
from tests.simulation.__main__ import end_with_parent

def work(_):
    print("begun", flush=True)
    time.sleep(3_600)

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2, end_with_parent) as pool:
        pool.map(work, range(2))
"""


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "busy_workers.py"
    script.write_text(BUSY_WORKERS)
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, env=given, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert [running.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        running.kill()
        running.communicate(timeout=PATIENCE)  # until nobody holds its output any more


def _without_run(sent: object) -> str:
    """A request as text, but for the run's id, which no seed decides."""
    return str(sent).partition(", prompt=")[2]
