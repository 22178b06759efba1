"""Without this, full garbage collections hold the loop up in a kernel with pandas and polars:
257 ms of CPU, twice in 5,000 rows at 500 at once; with it there was none, nor in 60,000 rows.

They walk through what the kernel has imported, half a million objects; 5,000 finished rows are one
in a hundred of them.
"""

from __future__ import annotations

import gc
import threading

__all__ = ["GcPause"]

_ROWS = 25_000
_SELDOM = (2_000, 50)  # objects more before one, and how many until one looks further back
_OF_PYTHON = 1_000  # more than 3.12 itself starts with (375), and less than any program has


class GcPause:
    """Sets aside what a full collection would walk through in vain: `begin`, `grown`, `end`.

    A kernel holds half a million objects of its imports, and each finished row a few more. To walk
    through them takes a tenth of a second, in which no click is handled. So at a run's start, and
    again after each 25,000 rows, all there is goes aside (`gc.freeze`), and comes back when the
    last run of the process has ended. What is freed by its last reference is freed as ever; only a
    circle of objects that is given up meanwhile stays until then. What is in flight outlives many
    small collections, and each tenth walked through all of it, for 10 to 20 ms at 500 at once: a
    run has fewer of them. Where somebody else has set objects aside, or has turned the collector
    off, nothing is done.
    """

    _lock = threading.Lock()
    _runs = 0
    _ours = False
    _found = _set = (0, 0, 0)  # the thresholds that a run found, and those that it set

    def __init__(self) -> None:
        self._at = 0

    def begin(self) -> None:
        """A run begins, in whatever thread."""
        with GcPause._lock:
            if GcPause._runs == 0:
                GcPause._ours = gc.isenabled() and gc.get_freeze_count() < _OF_PYTHON
                self._collect_seldom()
            GcPause._runs += 1
            self._set_aside()

    def grown(self, rows: int) -> None:
        """So many rows of the run are done by now."""
        if rows - self._at >= _ROWS:
            self._at = rows
            with GcPause._lock:
                self._set_aside()

    def end(self) -> None:
        """The run has ended."""
        with GcPause._lock:
            GcPause._runs -= 1
            if GcPause._runs == 0 and GcPause._ours:
                gc.unfreeze()
                self._collect_as_before()

    @staticmethod
    def _set_aside() -> None:
        if GcPause._ours:
            gc.freeze()

    @staticmethod
    def _collect_seldom() -> None:
        young, middle, old = GcPause._found = GcPause._set = gc.get_threshold()
        if GcPause._ours and 0 < young < _SELDOM[0]:
            GcPause._set = (_SELDOM[0], max(middle, _SELDOM[1]), old)
            gc.set_threshold(*GcPause._set)

    @staticmethod
    def _collect_as_before() -> None:
        """Unless somebody has set thresholds of their own meanwhile."""
        if gc.get_threshold() == GcPause._set:
            gc.set_threshold(*GcPause._found)
