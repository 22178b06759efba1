"""Lives through worlds by the thousand: `python -m tests.simulation --seeds 10000`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time

from .told import end_with_parent, live

_TOLD_EVERY = 500


def main() -> int:
    """Give 1 where a seed breaks a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="just this one")
    parser.add_argument("--go-on", action="store_true", help="after a breach, too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("-v", action="store_true", dest="verbose", help="tell all that happens")
    given = parser.parse_args()
    if given.seed is not None:
        told = live(given.seed)
        print(*told.log if given.verbose else (), *told.lines(), sep="\n")
        return 1 if told.problem else 0
    return _live_all(range(given.first, given.first + given.seeds), given.jobs, go_on=given.go_on)


def _live_all(seeds: range, jobs: int, *, go_on: bool) -> int:
    started, broken, steps = time.monotonic(), 0, 0
    with multiprocessing.get_context("spawn").Pool(jobs, end_with_parent) as pool:
        for done, told in enumerate(pool.imap(live, seeds, chunksize=8), 1):
            steps += told.steps
            if told.problem:
                broken += 1
                print(*told.lines(), sep="\n", flush=True)
                if not go_on:
                    return 1
            if done % _TOLD_EVERY == 0 or done == len(seeds):
                seconds = time.monotonic() - started
                print(f"{done:,} worlds, {steps:,} steps, {done / seconds:.1f} worlds a second, "
                      f"{broken} broken", flush=True)  # fmt: skip
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
