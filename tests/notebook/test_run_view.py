"""The live view: what it displays, what its buttons do, and how it ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import ipywidgets
import pytest

from ondine_nb.contracts import ExecutionObserver
from ondine_nb.control import Sample
from ondine_nb.notebook import run_view
from ondine_nb.notebook.run_view import WidgetObserver, _History, mimebundle

from .shots import FakeRun, PausableRun, context, live_run


class Screen:
    """What was displayed, in order: (bundle, display id, whether it is an update)."""

    def __init__(self) -> None:
        self.shown: list[tuple[dict[str, Any], str, bool]] = []

    def __call__(self, bundle: dict[str, Any], display_id: str, update: bool) -> None:
        self.shown.append((bundle, display_id, update))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """A notebook: a kernel is there, and what is displayed is kept."""
    screen = Screen()
    monkeypatch.setattr(run_view, "_display", screen)
    monkeypatch.setattr(run_view, "_in_notebook", lambda: True)
    monkeypatch.setattr(run_view, "DOUBLE_CLICK", 0.0)
    yield screen
    ipywidgets.Widget.close_all()


def shown(run: FakeRun) -> tuple[WidgetObserver, Any]:
    """The observer after `show`, and its widgets."""
    observer = WidgetObserver(run)
    observer.show()
    return observer, observer._view


def buttons(view: Any) -> dict[str, Any]:
    return {button.description: button for button in view._buttons.children}


def test_it_is_an_observer_and_shows_once(screen: Screen) -> None:
    observer, view = shown(live_run())
    assert isinstance(observer, ExecutionObserver)
    observer.show()
    ((bundle, _, update),) = screen.shown
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"].startswith("labeled: running")
    assert not update
    assert 'data-state="running"' in view._body.value


def test_the_style_sheet_is_sent_once_and_the_body_has_none(screen: Screen) -> None:
    observer, view = shown(live_run())
    style = view._style.value
    observer.run.context.processed_rows += 1
    observer.redraw()
    assert "<style>" not in view._body.value
    assert view._style.value is style
    assert 'data-done="5905"' in view._body.value


def test_an_unchanged_card_sends_nothing(screen: Screen) -> None:
    observer, view = shown(live_run())
    observer.redraw()
    changes: list[Any] = []
    view._body.observe(changes.append)
    observer.redraw()
    assert not changes


def test_progress_is_redrawn_at_most_ten_times_a_second(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer, _ = shown(live_run())
    drawn: list[int] = []
    monkeypatch.setattr(observer._view, "draw", lambda card: drawn.append(1))
    for tick in range(1000):  # two seconds
        monkeypatch.setattr(time, "monotonic", lambda now=tick / 500: 100 + now)
        observer.on_progress_update(observer.run.context)
    assert len(drawn) in (20, 21)


def test_stop_is_a_button_that_stops_and_then_cancels(screen: Screen) -> None:
    run = live_run()
    _, view = shown(run)
    stop = buttons(view)["Stop"]
    first = stop.tooltip
    stop.click()
    assert run.stops == 1
    assert 'data-state="stopping"' in view._body.value
    assert stop.description == "Stop"
    assert stop.tooltip != first
    assert "cancel" in stop.tooltip
    assert not stop.disabled
    stop.click()
    assert run.stops == 2


def test_a_double_click_is_one_stop(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_view, "DOUBLE_CLICK", 0.3)
    run = live_run()
    _, view = shown(run)
    buttons(view)["Stop"].click()
    buttons(view)["Stop"].click()
    assert run.stops == 1


def test_pause_becomes_resume_where_a_run_can_pause(screen: Screen) -> None:
    run = live_run()
    _, view = shown(run)
    buttons(view)["Pause"].click()
    assert run.state == "paused"
    buttons(view)["Resume"].click()
    assert run.state == "running"
    _, view = shown(FakeRun())
    assert list(buttons(view)) == ["Stop"]


def test_a_run_in_a_worker_thread_has_no_buttons(screen: Screen) -> None:
    _, view = shown(live_run(interrupt_only=True))
    assert not buttons(view)
    assert "use Interrupt (■) to stop" in view._body.value


def test_finish_replaces_the_display_by_static_html_and_leaves_no_widget(screen: Screen) -> None:
    before = set(ipywidgets.widgets.widget._instances)
    run = live_run()
    observer, _ = shown(run)
    run.state = "done"
    observer.finish()
    observer.finish()
    (_, first, _), (bundle, second, update) = screen.shown
    assert first == second
    assert update
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/html"].startswith('<div class="ondine-run"')
    assert "<style>" in bundle["text/html"]
    assert set(ipywidgets.widgets.widget._instances) == before
    observer.on_progress_update(run.context)  # late, as from a thread: nothing happens
    assert len(screen.shown) == 2


def test_finish_again_shows_what_came_in_since(screen: Screen) -> None:
    run = live_run()
    observer, _ = shown(run)
    run.state = "stopping"
    observer.finish()
    run.state, run.context.processed_rows = "stopped", 6104
    observer.finish()
    assert [update for _, _, update in screen.shown] == [False, True, True]
    assert 'data-done="6204"' in screen.shown[-1][0]["text/html"]


def test_after_a_click_on_stop_the_button_stays_until_nothing_is_in_flight(screen: Screen) -> None:
    run = live_run()
    observer, view = shown(run)
    buttons(view)["Stop"].click()
    observer.finish()
    assert len(screen.shown) == 1
    buttons(view)["Stop"].click()
    assert run.stops == 2
    run.state = "stopped"
    observer.finish()
    assert 'data-state="stopped"' in screen.shown[-1][0]["text/html"]


def test_what_was_never_shown_is_not_finished(screen: Screen) -> None:
    WidgetObserver(live_run()).finish()
    assert not screen.shown


def test_all_events_may_come_from_another_thread(screen: Screen) -> None:
    observer, _ = shown(live_run())
    run = observer.run

    def events() -> None:
        observer.on_pipeline_start(None, run.context)
        for _ in range(50):
            run.context.processed_rows += 1
            observer.redraw()
        observer.finish()

    thread = threading.Thread(target=events)
    thread.start()
    while thread.is_alive():
        observer.redraw()
    thread.join()
    assert 'data-done="5954"' in screen.shown[-1][0]["text/html"]


def test_a_card_that_cannot_be_drawn_does_not_end_the_run(
    screen: Screen, caplog: pytest.LogCaptureFixture
) -> None:
    run = live_run()
    observer, _ = shown(run)
    run.context.accumulated_cost = "not money"  # type: ignore[assignment]
    observer.redraw()
    observer.redraw()
    assert caplog.text.count("can't be drawn") == 1


def test_strange_data_is_drawn(screen: Screen) -> None:
    odd = Sample(0, {"\x00<b>": object()}, {"sentiment": {"a": Decimal("NaN")}})
    _, view = shown(live_run(gauges={"recent": deque([odd])}))
    assert "␀&lt;b&gt;" in view._body.value


def test_a_terminal_gets_plain_text_at_the_end_only(capsys: pytest.CaptureFixture[str]) -> None:
    run = live_run()
    observer = WidgetObserver(run)
    observer.show()
    observer.on_progress_update(run.context)
    assert capsys.readouterr().out == ""
    run.state = "done"
    observer.finish()
    observer.finish()
    assert capsys.readouterr().out.count("labeled: done in 1 min 36 s") == 1


def test_mimebundle_is_the_static_card() -> None:
    bundle = mimebundle(live_run())
    assert bundle["text/html"].count('class="ondine-run"') == 1
    assert bundle["text/plain"].startswith("labeled: running")


def test_importing_the_view_imports_neither_widgets_nor_templates() -> None:
    code = (
        "import sys, ondine_nb.notebook.run_view; "
        "sys.exit(any(name in sys.modules for name in ('ipywidgets', 'jinja2', 'IPython')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- the recent rate -----------------------------------------------------------------------------


def paces(run: PausableRun, rows: list[tuple[float, int, int]]) -> list[float | None]:
    """The rate after each (seconds, rows answered, rows from the journal)."""
    history, rates = _History(), []
    for now, answered, journal in rows:
        run.context.processed_rows, run.context.journal_rows = answered + journal, journal
        rates.append(history.pace(run, now).rate)
    return rates


def fresh() -> PausableRun:
    return PausableRun(context=context(1, total_rows=10_000))


def test_there_is_no_rate_before_there_is_data() -> None:
    assert paces(fresh(), [(0, 0, 0), (0.5, 10, 0), (3, 0, 0)]) == [None, None, None]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    slow = [(float(at), at, 0) for at in range(60)]
    fast = [(60.0 + at, 60 + 10 * at, 0) for at in range(30)]
    assert paces(fresh(), slow)[-1] == pytest.approx(1.0)
    assert paces(fresh(), slow + fast)[-1] == pytest.approx(10.0)


def test_rows_from_the_journal_do_not_make_it_look_fast() -> None:
    assert paces(fresh(), [(0, 0, 0), (1, 0, 5000), (2, 4, 5000)])[1:] == [5000, 2]


def test_a_slow_model_is_measured_over_enough_rows() -> None:
    rates = paces(fresh(), [(float(at), at // 10, 0) for at in range(110)])
    assert rates[-1] == pytest.approx(0.1, rel=0.15)


def test_a_pause_is_not_a_slow_run() -> None:
    run, history = fresh(), _History()
    history.pace(run, 0)
    run.context.processed_rows = 100
    assert history.pace(run, 10).rate == 10
    run.state = "paused"
    assert history.pace(run, 11).rate is None
    run.state = "running"
    assert history.pace(run, 1000).rate is None


def test_the_trend_has_a_point_for_every_five_seconds() -> None:
    run, history = fresh(), _History()
    for tick in range(1300):
        run.context.processed_rows = tick
        pace = history.pace(run, tick / 10)
    assert len(pace.trend) == 24
    assert pace.trend[-1] == pytest.approx(10, rel=0.05)
