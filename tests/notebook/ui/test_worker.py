"""A view's own thread, and telling its own changes from a person's."""

from __future__ import annotations

import threading

from ondine_nb.notebook.ui.worker import Drawing, ViewWorker
from tests.patience import PATIENCE


def test_work_is_done_in_order_and_of_one_name_only_the_last() -> None:
    done: list[str] = []
    gate = threading.Event()
    worker = ViewWorker(lambda error: done.append(str(error)))
    worker.ask("first", lambda: bool(gate.wait(PATIENCE)) and done.append("first"))
    for at in range(5):
        worker.ask("rows", lambda at=at: done.append(f"rows {at}"))  # type: ignore[misc]
    worker.ask("page", lambda: done.append("page"))
    gate.set()
    worker.wait(PATIENCE)
    assert done == ["first", "rows 4", "page"]
    worker.close()


def test_what_goes_wrong_is_told_and_the_next_is_done() -> None:
    told: list[object] = []
    worker = ViewWorker(told.append)
    worker.ask("bad", lambda: [][0])
    worker.ask("good", lambda: told.append("good"))
    worker.wait(PATIENCE)
    assert [type(it) for it in told] == [IndexError, str]
    worker.close()
    worker.ask("late", lambda: told.append("late"))
    worker.wait(PATIENCE)
    assert len(told) == 2


def test_drawing_is_told_by_the_thread_that_draws() -> None:
    drawing, seen = Drawing(), []
    with drawing, drawing:
        other = threading.Thread(target=lambda: seen.append(drawing.here))
        other.start()
        other.join()
        seen.append(drawing.here)
    seen.append(drawing.here)
    assert seen == [False, True, False]
