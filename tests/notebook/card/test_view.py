"""The live view: what it displays, what its buttons do, and how it ends."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
import time
from collections import deque
from decimal import Decimal
from typing import Any

import ipywidgets
import pytest

from ondine_nb.errors import RunError
from ondine_nb.notebook.card import view as run_view
from ondine_nb.notebook.card import widgets as card_widgets
from ondine_nb.notebook.card.view import WidgetObserver, mimebundle
from ondine_nb.notebook.ui import display as displays
from ondine_nb.orchestration import ExecutionObserver, Sample
from tests.notebook.card.conftest import Screen
from tests.notebook.shots import FakeRun, PausableRun, context, live_run


def shown(run: FakeRun) -> tuple[WidgetObserver, Any]:
    """The observer after `show`, and its widgets."""
    observer = WidgetObserver(run)
    observer.show()
    return observer, observer._widgets


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
    assert 'data-state="running"' in view.body.value


def test_the_style_sheet_is_sent_once_and_the_body_has_none(screen: Screen) -> None:
    observer, view = shown(live_run())
    style = view._style.value
    observer.run.context.processed_rows += 1
    observer.redraw()
    assert "<style>" not in view.body.value
    assert view._style.value is style
    assert 'data-done="5905"' in view.body.value


def test_an_unchanged_card_sends_nothing(screen: Screen) -> None:
    observer, view = shown(live_run())
    observer.redraw()
    changes: list[Any] = []
    view.body.observe(changes.append)
    observer.redraw()
    assert not changes


def test_progress_is_redrawn_at_most_ten_times_a_second(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer, _ = shown(live_run())
    observer._due = 0.0
    drawn: list[int] = []
    monkeypatch.setattr(observer._widgets, "draw", lambda card: drawn.append(1) or 0)
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
    assert 'data-state="stopping"' in view.body.value
    assert stop.description == "Stop"
    assert stop.tooltip != first
    assert "cancel" in stop.tooltip
    assert not stop.disabled
    stop.click()
    assert run.stops == 2


def test_a_double_click_is_one_stop(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_widgets, "DOUBLE_CLICK", 0.3)
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
    assert "use Interrupt (■) to stop" in view.body.value


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


async def test_when_the_cell_ends_the_card_is_static_and_stop_stays_until_nothing_is_in_flight(
    screen: Screen,
) -> None:
    run = live_run()
    observer, view = shown(run)
    buttons(view)["Stop"].click()
    observer.finish()
    card, place, update = screen.shown[1]
    assert (WIDGET in card, place, update) == (False, screen.shown[0][1], True)
    assert 'data-state="stopping"' in card["text/html"]
    assert "a snapshot as of " in card["text/html"]
    button = row_of(screen).children[0].children[0]
    assert button.description == "Stop"
    run.context.processed_rows += 1
    observer._due = 0.0
    observer.on_progress_update(run.context)
    assert f'data-done="{run.context.done_rows}"' in screen.shown[-1][0]["text/html"]
    button.click()
    assert run.stops == 2
    run.state = "stopped"
    run.context.failed_rows, run.context.processed_rows = 0, run.context.done_rows
    observer.finish()
    assert 'data-state="stopped"' in screen.shown[-2][0]["text/html"]
    assert screen.shown[-1][0] == {"text/html": run_view.NOTHING, "text/plain": ""}


def test_what_stands_in_says_at_once_that_the_run_is_stopping(screen: Screen) -> None:
    run = live_run()
    observer, _ = shown(run)
    observer._stand_in_due = 0.0
    observer.redraw()
    observer.run.state = "stopping"
    observer.redraw()
    assert 'data-state="stopping"' in screen.shown[-1][0]["text/html"]
    assert len(screen.shown) == 3


async def test_a_run_that_is_shown_twice_has_one_retry_button_and_both_cards_show_the_retry(
    screen: Screen,
) -> None:
    run = failed_run()
    views = [WidgetObserver(run), WidgetObserver(run)]
    run.context.observers += views
    for view in views:
        view.show()
    run.state = "done"
    for view in views:
        view.finish()
    row_of(screen).children[0].children[0].click()  # there is just one
    await asyncio.sleep(0)
    (retry,) = run.retried
    assert [view.run for view in views] == [retry, retry]
    retry.context.failed_rows = 1
    over(retry)
    rows = [it for it in (view._row for view in views) if it is not None]
    assert len(rows) == 1


def test_an_error_that_the_cell_raises_is_not_repeated_by_its_card(screen: Screen) -> None:
    run = live_run(state="failed", error=RunError("the key is not accepted"))
    observer, _ = shown(run)
    observer.finish(told=True)
    assert "the key is not accepted" not in screen.shown[-1][0]["text/html"]
    assert "the key is not accepted" in mimebundle(run)["text/html"]


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
    _, view = shown(live_run(metrics={"recent": deque([odd])}))
    assert "␀&lt;b&gt;" in view.body.value


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
        "import sys, ondine_nb.notebook.card.view; "
        "sys.exit(any(name in sys.modules for name in ('ipywidgets', 'jinja2', 'IPython')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- failed rows, and asking them again ----------------------------------------------------------


class RetryableRun(PausableRun):
    """A run whose failed rows can be asked again; `retried` are the runs that this started."""

    def retry_failed(self) -> PausableRun:
        if self.refuses:
            raise RunError("no row of this run failed")
        retry = RetryableRun(context=context(1, total_rows=self.context.failed_rows))
        retry.state = "running"
        self.retried.append(retry)
        return retry

    def when_over(self, callback: Any) -> None:
        self.callbacks.append(callback)

    refuses = False

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.retried: list[RetryableRun] = []
        self.callbacks: list[Any] = []


def failed_run() -> RetryableRun:
    return RetryableRun(context=live_run().context)


def over(run: RetryableRun) -> None:
    run.state = "done"
    for callback in run.callbacks:
        callback(run)


def row_of(screen: Screen) -> Any:
    """The widget of the last row of a Retry failed button."""
    (view,) = [
        it[WIDGET] for it, _, update in screen.shown if WIDGET in it and "labeled" not in str(it)
    ]
    return ipywidgets.widgets.widget._instances[view["model_id"]]


WIDGET = "application/vnd.jupyter.widget-view+json"


def test_failed_rows_open_and_close_by_a_button_and_stay_open_when_redrawn(screen: Screen) -> None:
    observer, view = shown(live_run())
    (button,) = view._more.children
    assert button.description == "Show failed rows"
    button.click()
    assert button.description == "Hide failed rows"
    observer.run.context.processed_rows += 1
    observer.redraw()
    assert "score: &#39;nine&#39; is not a number" in view.body.value
    button.click()
    assert "is not a number</bdi></li>" not in view.body.value


async def test_a_run_that_ends_with_failed_rows_offers_to_retry_them(screen: Screen) -> None:
    run = failed_run()
    observer, _ = shown(run)
    run.state = "done"
    observer.finish()
    assert [update for _, _, update in screen.shown] == [False, True, False]
    button = row_of(screen).children[0].children[0]
    assert button.description == "Retry failed"
    button.click()
    assert button.disabled
    await asyncio.sleep(0)
    (retry,) = run.retried
    live, place, update = screen.shown[-1]
    assert (place, update) == (screen.shown[0][1], True)
    assert live["text/plain"].startswith("labeled: running")
    over(retry)
    assert 'data-state="done"' in screen.shown[-2][0]["text/html"]
    assert screen.shown[-1][0] == {"text/html": run_view.NOTHING, "text/plain": ""}
    assert not ipywidgets.widgets.widget._instances


async def test_what_the_retry_can_t_do_is_said_beside_the_button(screen: Screen) -> None:
    run = failed_run()
    observer, _ = shown(run)
    run.state, run.refuses = "done", True
    observer.finish()
    button, note = row_of(screen).children[0].children
    button.click()
    await asyncio.sleep(0)
    assert "no row of this run failed" in note.value
    assert not button.disabled


async def test_where_nobody_can_click_no_button_is_shown(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Screen, "get_parent", lambda self: {"metadata": {}})
    run = failed_run()
    observer, _ = shown(run)
    run.state = "done"
    observer.finish()
    assert [update for _, _, update in screen.shown] == [False, True]
    assert "failures: refusal 61" in screen.shown[-1][0]["text/html"]


# --- in other cells, after a reload, and without a kernel ----------------------------------------


def test_shown_again_in_another_cell_a_run_that_goes_on_is_live_there_too(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = failed_run()
    observer, _ = shown(run)
    run.context.observers.append(observer)
    assert run_view.shows_live(run)
    assert len(screen.shown) == 1, "the same cell shows it already"
    monkeypatch.setattr(Screen, "execution_count", 4)
    assert run_view.shows_live(run)
    assert len({place for _, place, _ in screen.shown}) == 2
    over(run)
    assert 'data-state="done"' in screen.shown[-1][0]["text/html"]
    monkeypatch.setattr(Screen, "execution_count", 5)
    assert not run_view.shows_live(run)


def test_what_began_where_a_view_is_shows_no_second_one(screen: Screen) -> None:
    with run_view.shown_elsewhere():
        run_view.follow(failed_run())
    assert not screen.shown


def test_the_last_update_goes_where_the_first_output_went(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = live_run()
    observer, _ = shown(run)
    captured = Screen()
    monkeypatch.setattr(displays, "_shell", lambda: captured)  # as under %%capture
    run.state = "stopped"
    observer.finish()
    assert not captured.shown
    assert 'data-state="stopped"' in screen.shown[-1][0]["text/html"]


def test_after_a_page_was_loaded_anew_its_widgets_stay_and_show_the_end(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = live_run()
    observer, view = shown(run)
    monkeypatch.setattr(run_view, "page_mark", lambda: "another page")
    run.state = "done"
    observer.finish()
    assert view.body.comm is not None
    assert 'data-state="done"' in view.body.value
    assert not buttons(view)
    run_view._KEPT.clear()


def test_a_card_whose_kernel_is_gone_says_how_to_go_on(screen: Screen) -> None:
    _, view = shown(live_run(name="<b>"))
    assert "its kernel has ended" in view._gone.value
    assert "%ondine resume &lt;b&gt;" in view._gone.value
    assert ".jupyter-widgets-disconnected .o-gone { display: block; }" in view._style.value


def test_a_large_card_is_drawn_less_often_than_a_small_one(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer, view = shown(live_run())
    view._on_show_failed(None)
    sent: list[int] = []
    view.body.observe(lambda change: sent.append(len(change["new"].encode())), "value")
    observer._due = 0.0
    for tick in range(5000):  # ten seconds
        monkeypatch.setattr(time, "monotonic", lambda now=tick / 500: 100 + now)
        observer.run.context.processed_rows += 1
        observer.on_progress_update(observer.run.context)
    assert sum(sent) + run_view.ENVELOPE * len(sent) < 200_000
    assert 15 < len(sent) <= 100


def test_a_screen_reader_is_told_the_state_and_each_quarter(screen: Screen) -> None:
    observer, view = shown(live_run())
    told: list[str] = []
    view._says.observe(lambda change: told.append(change["new"]), "value")
    for rows in range(5804, 9000, 10):
        observer.run.context.processed_rows = rows
        observer.redraw()
    observer.run.state = "paused"
    observer.redraw()
    assert [re.sub("<.*?>", "", it) for it in told] == ["labeled: 75 % done", "labeled: paused"]


# --- a notebook that is saved while a run goes on ------------------------------------------------


def test_what_stands_in_for_a_saved_card_comes_after_a_while_and_now_and_then(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer, _ = shown(live_run())
    begun = observer._shown
    for tick in range(100):  # twenty seconds
        monkeypatch.setattr(time, "monotonic", lambda now=begun + tick / 5: now)
        observer.run.context.processed_rows += 1
        observer.redraw()
    first, *later = screen.shown[1:]
    assert not first[2]
    assert [update for _, _, update in later] == [True, True]
    assert {place for _, place, _ in later} == {first[1]} != {screen.shown[0][1]}
    html = later[-1][0]["text/html"]
    assert html.startswith('<div class="ondine-saved"')
    assert "%ondine resume labeled" in html
    assert "ondine-run " not in html


def test_at_the_end_nothing_is_left_of_it_but_an_empty_place(screen: Screen) -> None:
    run = live_run()
    observer, _ = shown(run)
    observer._stand_in_due = 0.0
    observer.redraw()
    run.state = "done"
    observer.finish()
    (final, place, _), (rest, below, update) = screen.shown[-2:]
    assert 'data-state="done"' in final["text/html"]
    assert place == screen.shown[0][1]
    assert (rest["text/html"], update) == (run_view.NOTHING, True)
    assert below == screen.shown[1][1]


async def test_the_button_takes_its_place_and_gives_it_back_to_a_retry_that_takes_long(
    screen: Screen,
) -> None:
    run = failed_run()
    observer, _ = shown(run)
    observer._stand_in_due = 0.0
    observer.redraw()
    run.state = "done"
    observer.finish()
    assert (WIDGET in screen.shown[-1][0], screen.shown[-1][2]) == (True, True)
    row_of(screen).children[0].children[0].click()
    await asyncio.sleep(0)
    (retry,) = run.retried
    observer._stand_in_due = 0.0
    observer.redraw()
    assert "ondine-saved" in screen.shown[-1][0]["text/html"]
    retry.context.failed_rows = 1
    over(retry)
    assert WIDGET in screen.shown[-1][0]
    assert len({place for _, place, _ in screen.shown}) == 2


def test_where_nobody_can_click_nothing_is_shown_beside_the_card(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Screen, "get_parent", lambda self: {"metadata": {"cellId": "vscode:/a"}})
    observer, _ = shown(live_run())
    observer._stand_in_due = 0.0
    observer.redraw()
    ((bundle, _, _),) = screen.shown
    assert bundle["text/html"].startswith('<div class="ondine-run"')
