"""One world lived through, and what there is to say of it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from ondine_nb import journal

from .worlds import World

__all__ = ["Told", "end_with_parent", "live"]


@dataclass(frozen=True)
class Told:
    """What became of one world."""

    seed: int
    steps: int
    problem: str
    log: tuple[str, ...]

    def lines(self) -> list[str]:
        """What there is to say of it."""
        if not self.problem:
            return [f"seed {self.seed}: {self.steps:,} steps, nothing is broken"]
        replay = f"  replay: python -m tests.simulation --seed {self.seed} -v"
        return [f"seed {self.seed}: {self.problem}", replay]


def live(seed: int) -> Told:
    """Live through the world of this seed."""
    logging.getLogger("ondine_nb").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        journal.use(Path(folder))
        world, problem = World(seed), ""
        try:
            world.live()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    return Told(seed, world.steps, problem, tuple(world.log))


def end_with_parent() -> None:
    """Whoever is killed says nothing to its workers: each looks for itself, in a thread."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # only workers call it

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
