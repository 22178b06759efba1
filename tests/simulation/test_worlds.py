"""What a run promises holds in worlds of faults that are drawn from seeds."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

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


TELLING = """
import sys
from tests.simulation import __main__ as command

command._TOLD_EVERY = 1
sys.exit(command.main())
"""


def test_workers_end_with_the_process_that_started_them() -> None:
    command = [sys.executable, "-c", TELLING, "--seeds", "1000000", "--jobs", "2"]
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=given, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("1 worlds")
        running.kill()
        running.communicate(timeout=PATIENCE)  # until nobody holds its output any more


def _without_run(sent: object) -> str:
    """A request as text, but for the run's id, which no seed decides."""
    return str(sent).partition(", prompt=")[2]
