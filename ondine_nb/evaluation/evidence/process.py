"""A process of its own that finds quotes, so that the notebook's loop goes on meanwhile.

What is looked for nearly takes the interpreter for itself: a thread that does that beside the loop
lets it wait for up to 5 ms at every call of the system, hundreds of times in a turn.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from .finder import Evidence, Finder

__all__ = ["QuoteFinder", "main"]

_ROOT = str(Path(__file__).parents[3])  # what holds the package
# The program of the process. It has the paths of its parent, and never imports its main module.
_PROGRAM = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from ondine_nb.evaluation.evidence.process import main; main()"
)


class QuoteFinder:
    """Finds quotes in the texts of a row, which are given by column.

    The process starts with the first quote that isn't there verbatim, and is ended by `close`.
    Where none can be started, or where it dies, quotes are looked for here as well.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._broken = False
        self._owner = os.getpid()
        self._asking = threading.Lock()

    def verbatim(self, texts: Mapping[str, str], quotes: Iterable[str]) -> dict[str, Evidence]:
        """Those of the quotes that stand in a text as they are; takes microseconds."""
        finder = Finder(texts)
        return {quote: at for quote in quotes if (at := finder.verbatim(quote)) is not None}

    def find(self, texts: Mapping[str, str], quotes: Sequence[str]) -> dict[str, Evidence]:
        """Each quote where it, or what is nearest to it, stands. For a thread: may take seconds."""
        with self._asking:
            found = self._ask(texts, quotes)
        return _found(texts, quotes) if found is None else found

    def close(self) -> None:
        """End the process, if it runs. May be called twice."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for stream in _streams(process):
            with contextlib.suppress(OSError):  # what is left to write has no reader
                stream.close()

    def _ask(self, texts: Mapping[str, str], quotes: Sequence[str]) -> dict[str, Evidence] | None:
        """What the process finds; None where there is none that could."""
        if self._broken or self._owner != os.getpid():
            return None
        try:
            to, back = _streams(self._started())
            to.write(pickle.dumps((dict(texts), list(quotes))))
            to.flush()
            return cast("dict[str, Evidence]", pickle.load(back))  # noqa: S301 - our own child
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            self._broken = True
            self.close()
            return None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # In a session of its own: Ctrl+C in a terminal goes to the run alone, which ends it.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=os.name != "nt",
            )
            paths = [*map(str, sys.path), _ROOT]
            _streams(self._process)[0].write(pickle.dumps(paths))
        return self._process


def _streams(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """What it reads, and what it writes."""
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _found(texts: Mapping[str, str], quotes: Sequence[str]) -> dict[str, Evidence]:
    finder = Finder(texts)
    return {quote: finder.find(quote) for quote in quotes}


def main() -> None:
    """Answer the parent until it closes the pipe or ends."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            given: tuple[dict[str, str], list[str]] = pickle.load(asked)  # noqa: S301
            answers.write(pickle.dumps(_found(*given)))
            answers.flush()
