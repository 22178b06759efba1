"""`python -m tests.bench stream`: what a measurement is called, and its options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from tests.bench import stream

BENCHES: dict[str, Callable[[Sequence[str]], None]] = {"stream": stream.main}


def main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] not in BENCHES:
        sys.exit(f"usage: python -m tests.bench {'|'.join(BENCHES)} [--help]")
    BENCHES[arguments[0]](arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
