"""The live results view: what it displays, what its widgets do, and what is left without them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import nbformat
import pytest

from ondine_nb import Run
from ondine_nb.notebook.results import view as results_view
from ondine_nb.notebook.results.view import ResultsView, show_results
from tests.asking import Asker, ended, statuses, texts
from tests.notebook.ended_runs import ended_run, reviews
from tests.notebook.kernels import Kernel, environment
from tests.notebook.test_front_ends import FRAME, execute, html_of, notebook, outputs
from tests.notebook.test_front_ends import run as command
from tests.server import MessagesServer

WIDGET = "application/vnd.jupyter.widget-view+json"


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
    monkeypatch.setattr(results_view, "display_bundle", screen)
    monkeypatch.setattr(results_view, "in_notebook", lambda: True)
    yield screen
    while results_view._OPEN:
        results_view._OPEN.popleft().close()
    ipywidgets.Widget.close_all()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return ended_run(reviews(300), tmp_path, failing=0.1)


def shown(run: Run) -> ResultsView:
    show_results(run)
    view = results_view._OPEN[-1]
    view.wait()
    return view


def positions(view: ResultsView) -> list[int]:
    view.wait()
    assert view._page is not None
    return [line.position for line in view._page.lines]


def click(view: ResultsView, name: str) -> None:
    button: Any = getattr(view.parts, name)
    assert not button.disabled
    button.click()
    view.wait()


def test_it_shows_a_live_view_and_a_static_one_that_it_hides(screen: Screen, run: Run) -> None:
    view = shown(run)
    (live, _, _), (static, _, _) = screen.shown
    assert WIDGET in live
    assert live["text/plain"] == ""
    assert set(static) == {"text/html", "text/plain"}
    assert f"ondine-static-{view._mark}" in static["text/html"]
    assert f".ondine-static-{view._mark}" in view.parts.style.value
    assert "ondine-results" in view.parts.box._dom_classes


def test_only_the_page_is_drawn(screen: Screen, run: Run) -> None:
    view = shown(run)
    assert positions(view) == list(range(20))
    assert view.parts.table.value.count("<tr") == 21
    assert len(view.parts.numbers.children) == 21


def test_paging_sorting_and_filtering_work_together(screen: Screen, run: Run) -> None:
    view = shown(run)
    click(view, "after")
    assert positions(view) == list(range(20, 40))
    view.parts.size.value = 50
    assert positions(view) == list(range(50))
    view.parts.page.value = 6
    assert positions(view) == list(range(250, 300))
    view.parts.status.value = "failed"
    failed = [at for at in range(300) if statuses(run)[at] == "failed"]
    assert positions(view) == failed[:50]
    view.parts.order.value = True
    view.parts.sort.value = 1
    view.parts.text.value = "phone"
    found = [at for at in failed if at % 5 == 0]
    assert sorted(positions(view)) == found
    assert "▼" in view.parts.table.value
    assert f"1 to {len(found)} of {len(found)} rows that match, of 300" in view.parts.of_pages.value


def test_a_row_is_opened_stepped_through_and_closed(screen: Screen, run: Run) -> None:
    view = shown(run)
    assert view.parts.side.layout.display == "none"
    view.parts.number(19).click()
    view.wait()
    assert view.parts.side.layout.display is None
    assert "row 19" in view.parts.detail.value
    assert view.parts.number(19).description == "▸ 19"
    click(view, "row_after")
    assert view.opened == 20
    assert positions(view)[0] == 20
    click(view, "close_row")
    assert view.opened is None
    assert view.parts.side.layout.display == "none"


def test_more_views_than_fit_close_the_oldest(screen: Screen, run: Run) -> None:
    first = shown(run)
    for _ in range(results_view.MOST_VIEWS):
        shown(run)
    assert len(results_view._OPEN) == results_view.MOST_VIEWS
    assert first not in results_view._OPEN
    assert first.parts.box.comm is None


def test_closing_a_view_leaves_no_widget_behind(screen: Screen, run: Run) -> None:
    from ipywidgets.widgets.widget import _instances

    known = set(_instances)
    view = shown(run)
    assert len(set(_instances) - known) > 40
    view.close()
    assert set(_instances) - known == set()


def test_without_a_loop_a_retry_says_what_to_do(screen: Screen, run: Run) -> None:
    view = shown(run)
    click(view, "retry")
    assert "await run.retry_failed()" in view.parts.note.value


async def test_picked_rows_alone_are_asked_again(screen: Screen, tmp_path: Path) -> None:
    plan: dict[str, str] = {f"Tell: text {at}": "refusal" for at in (1, 3, 4)}
    with MessagesServer(plan=lambda body, _: plan.get(body["messages"][0]["content"])) as server:
        asker = Asker(server, tmp_path)
        first = Run(asker.pipeline(texts(6)))
        await ended(first)
        view = shown(first)
        plan.clear()
        assert view.picked == {1, 3, 4}
        view.parts.number(3).click()
        view.wait()
        assert view.parts.pick.value
        view.parts.pick.value = False
        view.wait()
        assert view.picked == {1, 4}
        assert "2 of 3 failed rows picked" in view.parts.retry_note.value
        assert [box.description for box in view.parts.kinds.children] == ["refusal (2 of 3)"]
        view.parts.retry.click()
        await asyncio.sleep(0)
        await view.run
        await asyncio.sleep(0.05)
        await asyncio.to_thread(view.wait)
        assert server.arrived == 8
        assert statuses(view.run) == [*["answered"] * 3, "failed", *["answered"] * 2]
        assert "1 failed" in screen.shown[-1][0]["text/plain"]
        asker.end_process()


async def test_a_large_run_that_goes_on_is_drawn_behind_its_loop(
    screen: Screen, tmp_path: Path
) -> None:
    run = ended_run(reviews(results_view.MOST_AT_ONCE + 1), tmp_path)
    run._over = False
    view = ResultsView(run)
    view.display()
    (_, (static, _, _), *_) = screen.shown
    assert static["text/plain"] == "labeled: the results of 5,001 rows"
    await asyncio.to_thread(view.wait)
    bundle, display_id, update = screen.shown[-1]
    assert update
    assert display_id == screen.shown[1][1]
    assert "5,001" in bundle["text/html"]
    assert "<tr" in view.parts.table.value
    run._over = True
    view.close()


async def test_retry_failed_asks_only_the_rows_that_are_named(tmp_path: Path) -> None:
    with MessagesServer(faults={"refusal": 1}) as server:
        asker = Asker(server, tmp_path)
        first = Run(asker.pipeline(texts(4)))
        await ended(first)
        retry = first.retry_failed([2, 0])
        await retry
        assert server.arrived == 6
        assert retry.stats.total_rows == 2
        with pytest.raises(Exception, match="nothing to ask again"):
            first.retry_failed([])
        asker.end_process()


def test_exports_go_into_the_working_folder(
    screen: Screen, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    view = shown(run)
    click(view, "csv")
    click(view, "parquet")
    assert 'href="labeled.parquet"' in view.parts.note.value
    assert "300 rows written" in view.parts.note.value
    assert sorted(path.name for path in tmp_path.glob("labeled*")) == [
        *("labeled.csv", "labeled.parquet")
    ]


def test_what_goes_wrong_in_the_view_is_a_line_in_it(
    screen: Screen, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = shown(run)
    monkeypatch.setattr(run.__class__, "frame", property(lambda _: 1 / 0))
    click(view, "csv")
    assert "ZeroDivisionError" in view.parts.note.value
    click(view, "after")
    assert positions(view)[0] == 20


# --- in a real kernel, and without widgets -------------------------------------------------------


def test_in_a_kernel_100_000_rows_send_one_page(tmp_path: Path) -> None:
    made = (
        "from pathlib import Path; from tests.notebook.ended_runs import *\n"
        f"run = ended_run(reviews(100_000), Path({str(tmp_path)!r}))"
    )
    with Kernel(tmp_path / "home") as kernel:
        assert kernel.run(made, 120).status == "ok"
        cell = kernel.run("run.show()", 120)
        assert cell.status == "ok", cell.traceback
        sent = sum(len(json.dumps(message["content"])) for message in cell.messages)
        assert sent < 250_000
        assert "100,000" in cell.html
        assert not cell.of_type("execute_result")
        view = "__import__('ondine_nb').notebook.results.view._OPEN[-1]"
        before = len(kernel.messages)
        kernel.run(f"{view}.parts.status.value = 'failed'; {view}.wait()")
        sent = sum(len(json.dumps(it["content"])) for it in kernel.messages[before:])
        assert sent < 60_000


def test_nbconvert_shows_the_static_view_once(tmp_path: Path, server: MessagesServer) -> None:
    surroundings = environment(tmp_path, ANTHROPIC_BASE_URL=server.url)
    path = notebook(tmp_path, FRAME, "%%ondine out -i df\nTell {text}", "out_run.show()")
    execute(path, surroundings)
    assert html_of(path, 2).count('class="ondine-results-static') == 1
    live, static = outputs(path, 2)
    assert WIDGET in live["data"]
    assert "30 answered" in "".join(static["data"]["text/plain"])
    saved = nbformat.read(path, as_version=4)
    saved.metadata.pop("widgets", None)  # as JupyterLab saves it
    nbformat.write(saved, path)
    page = command(surroundings, "nbconvert", "--to", "html", str(path))
    assert page.returncode == 0, page.stderr
    html = path.with_suffix(".html").read_text()
    assert html.count('class="ondine-results-static') == 1
    assert "1 to 20 of 30 rows" in html


def test_in_a_terminal_the_facts_are_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ended_run(reviews(30), tmp_path).show()
    printed = capsys.readouterr().out
    assert printed.startswith("labeled: results")
    assert "1 to 10 of 30 rows" in printed
