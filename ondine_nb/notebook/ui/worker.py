"""Worker thread of a view, and how a view tells its own changes of a widget from a person's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Drawing", "ViewWorker"]


class ViewWorker:
    """Does what is asked in one thread, in order; of what is asked under one name the last.

    `complain` is told of what goes wrong.
    """

    def __init__(self, complain: Callable[[BaseException], None]) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ondine-view")
        self._complain = complain
        self._asked: dict[str, Callable[[], None]] = {}
        self._last: Future[None] | None = None

    def ask(self, name: str, work: Callable[[], None]) -> None:
        """Do `work` when all before it is done, unless the same name is asked again by then."""
        self._asked[name] = work

        def job() -> None:
            if self._asked.get(name) is work:
                del self._asked[name]
                self._do(work)

        try:
            self._last = self._pool.submit(job)
        except RuntimeError:  # closed, or the interpreter ends
            self._asked.pop(name, None)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # the next thing that is asked may well be possible
            self._complain(error)

    def wait(self, seconds: float) -> None:
        """Wait until all that was asked so far is done. Raises TimeoutError."""
        last = self._last
        if last is not None:
            last.result(seconds)

    def close(self) -> None:
        """Do nothing more but what has begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Drawing:
    """Entered while a view sets its widgets: `here` tells whether this very thread does so.

    What a person does comes in another thread at the same time, and counts.
    """

    def __init__(self) -> None:
        self._known = threading.local()

    @property
    def here(self) -> bool:
        """Whether this thread is drawing right now."""
        return bool(getattr(self._known, "depth", 0))

    def __enter__(self) -> None:
        self._known.depth = getattr(self._known, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        self._known.depth -= 1
