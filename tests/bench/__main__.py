"""`python -m tests.bench NAME`: which measurements there are; without a name, `compare`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

NAMES = (
    "compare",
    "start",
    "rerun",
    "growth",
    "stream",
    "journal",
    "dask",
    "trace",
    "results",
    "openai",
    "tries",
    "examples",
    "evidence",
)


def main(arguments: Sequence[str]) -> None:
    name, *options = arguments or ("compare",)
    if name not in NAMES:
        sys.exit(f"usage: python -m tests.bench {'|'.join(NAMES)} [--help]")
    import_module(f"tests.bench.{name}").main(options)


if __name__ == "__main__":
    main(sys.argv[1:])
