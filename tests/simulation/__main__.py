"""Lives through worlds by the thousand: `python -m tests.simulation --seeds 10000`."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from ondine_nb import journal

from .worlds import World

_TOLD_EVERY = 500


def main() -> int:
    """Give 1 where a seed breaks a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="just this one")
    parser.add_argument("--go-on", action="store_true", help="after a breach, too")
    parser.add_argument("-v", action="store_true", dest="verbose", help="tell all that happens")
    given = parser.parse_args()
    logging.getLogger("ondine_nb").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    seeds = range(given.first, given.first + given.seeds)
    if given.seed is not None:
        seeds = range(given.seed, given.seed + 1)
    with tempfile.TemporaryDirectory() as folder:
        journal.use(Path(folder))
        return _live(seeds, go_on=given.go_on, verbose=given.verbose)


def _live(seeds: range, *, go_on: bool, verbose: bool) -> int:
    started, broken, steps = time.monotonic(), 0, 0
    for done, seed in enumerate(seeds, 1):
        world = World(seed)
        try:
            world.live()
        except Exception as error:
            broken += 1
            print(f"seed {seed}: {type(error).__name__}: {error}")
            print(f"  replay: python -m tests.simulation --seed {seed} -v")
            if verbose:
                print(*world.log, sep="\n")
            if not go_on:
                return 1
        else:
            if verbose:
                print(*world.log, sep="\n")
        steps += world.steps
        if done % _TOLD_EVERY == 0 or done == len(seeds):
            seconds = time.monotonic() - started
            print(f"{done:,} worlds, {steps:,} steps, {done / seconds:.1f} worlds a second, "
                  f"{broken} broken", flush=True)  # fmt: skip
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
