"""The results view in a notebook: what it shows, what it binds, what stands without a kernel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import polars as pl
import pytest

import ondine_nb
from ondine_nb import Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.notebook.judging import result_named
from ondine_nb.notebook.results import ResultsView
from ondine_nb.notebook.results import view as results_view
from ondine_nb.notebook.ui import view as live_views
from tests.asking import Asker, ended, seen, statuses, texts
from tests.notebook.ended_runs import ended_run, reviews
from tests.notebook.kernels import Kernel, environment
from tests.notebook.test_front_ends import FRAME, execute, html_of, notebook, outputs
from tests.notebook.test_front_ends import run as command
from tests.patience import PATIENCE
from tests.server import MessagesServer

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return ended_run(reviews(300), tmp_path, failing=0.1)


@pytest.fixture
def view(run: Run) -> Iterator[ResultsView]:
    made = ResultsView(run)
    made._look()
    yield made
    made.close()


def ask(view: ResultsView, what: str, **given: Any) -> Any:
    answer = view._done({"ask": what, "given": given})
    assert "error" not in answer, answer
    return answer["ok"]


def look(view: ResultsView, *conditions: dict[str, Any], **given: Any) -> Any:
    given.setdefault("names", ["text", "sentiment", "score"])
    return ask(view, "look", conditions=list(conditions), **given)


def test_the_first_state_has_the_first_rows_and_goes_as_json(view: ResultsView) -> None:
    state = json.loads(json.dumps(view.state()))
    told = state["look"]
    assert told["names"] == ["text", "sentiment", "score", "stars", "why"]
    assert told["count"] == 300
    assert told["places"] + told["failed"]["rows"] == 300
    assert [line["at"] for line in told["lines"][:3]] == [
        at for at in range(10) if at not in view.results.failed
    ][:3]
    assert len(json.dumps(state)) < 60_000


def test_a_page_has_the_rows_of_its_places_and_an_older_question_none(view: ResultsView) -> None:
    told = look(view, {"name": "sentiment", "values": ["positive"]}, sort="score")
    page = ask(view, "rows", version=told["version"], start=10, count=5)
    expected = view.results.cells(view._selection.positions[10:15].tolist(), ["sentiment"])
    assert [line["cells"][1] for line in page["lines"]] == [cell for (cell,) in expected]
    assert ask(view, "rows", version=told["version"] - 1, start=10, count=5)["lines"] == []


def test_a_wrong_column_is_a_line_and_the_view_stays(view: ResultsView) -> None:
    answer = view._done({"ask": "look", "given": {"names": ["nothing"]}})
    assert answer["error"] == "ValueError: there is no column 'nothing' here"
    assert look(view)["count"] == 300


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_selected_is_the_frame_of_what_is_shown_in_its_order(tmp_path: Path, kind: str) -> None:
    run = ended_run(reviews(200, kind), tmp_path, failing=0.1)
    view = ResultsView(run)
    view._look()
    assert len(view.selected) == 200
    look(view, {"name": "sentiment", "values": ["positive"]}, sort="score", descending=True)
    selected = view.selected
    assert type(selected) is type(run.frame)
    assert list(selected.columns) == list(run.frame.columns)
    scores = list(selected["score"])
    assert scores == sorted(scores, reverse=True)
    assert set(selected["sentiment"]) == {"positive"}
    whole = pl.DataFrame(run.frame) if kind == "polars" else pl.from_pandas(run.frame)
    assert len(selected) == whole.filter(pl.col("sentiment").cast(str) == "positive").height


def test_a_search_gives_the_next_hit_and_begins_again_at_the_end(view: ResultsView) -> None:
    first = ask(view, "find", needle="NOBODY answers", place=0, step=0)
    assert first["number"] == 1
    second = ask(view, "find", needle="NOBODY answers", place=first["place"], step=1)
    assert second["number"] == 2
    assert ask(view, "find", needle="nobody answers", place=second["place"], step=-1) == first
    last = ask(view, "find", needle="nobody answers", place=first["place"], step=-1)
    assert last["number"] == last["hits"]
    assert ask(view, "find", needle="nobody answers", place=last["place"], step=1) == first
    assert ask(view, "find", needle="nowhere", place=0, step=1)["hits"] == 0


def test_a_row_in_full_knows_its_place(view: ResultsView) -> None:
    told = look(view, sort="score")
    at = told["lines"][3]["at"]
    row = ask(view, "row", at=at)
    assert (row["position"], row["place"]) == (at, 3)
    assert ask(view, "row", at=view.results.failed[0])["place"] is None


def test_what_is_exported_is_what_is_shown(
    view: ResultsView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    look(view, {"name": "stars_given", "values": ["3"]})
    told = ask(view, "export", kind="csv")
    assert (told["file"], told["rows"]) == ("labeled.csv", 60)
    assert set(pd.read_csv(tmp_path / "labeled.csv").stars_given) == {3}
    assert ask(view, "export", kind="csv")["file"] == "labeled-2.csv"


def test_without_a_loop_a_retry_says_what_to_do(view: ResultsView) -> None:
    answer = view._done({"ask": "retry", "given": {}})
    assert "await run.retry_failed()" in answer["error"]


async def test_the_rows_of_one_kind_alone_are_asked_again(tmp_path: Path) -> None:
    plan = {"Tell: text 1": "refusal", "Tell: text 3": "cut", "Tell: text 4": "refusal"}
    with MessagesServer(plan=lambda body, _: plan.get(body["messages"][0]["content"])) as server:
        asker = Asker(server, tmp_path)
        first = Run(asker.pipeline(texts(6)))
        await ended(first)
        view = ResultsView(first)
        view._look()
        assert [kind for kind, _ in view.state()["look"]["failed"]["kinds"]] == [
            *("refusal", "cut at max_tokens")
        ]
        plan.clear()
        assert ask(view, "retry", kind="refusal") == {"rows": 2}
        await asyncio.sleep(0)
        await view.run
        await seen(lambda: view.run.state == "done")
        await asyncio.to_thread(view.wait, PATIENCE)
        assert server.arrived == 8
        assert statuses(view.run) == [*["answered"] * 3, "failed", *["answered"] * 2]
        assert view.state()["look"]["failed"]["rows"] == 1
        view.close()
        asker.end_process()


async def test_a_retry_is_stopped_from_the_view_and_what_was_not_sent_is_still_failed(
    tmp_path: Path,
) -> None:
    broken = True
    with MessagesServer(plan=lambda *_: "refusal" if broken else None) as server:
        asker = Asker(server, tmp_path)
        first = Run(asker.pipeline(texts(12), concurrency=2))
        await ended(first)
        view = ResultsView(first)
        view._look()
        broken = False
        server.pause()
        sent = server.arrived
        assert ask(view, "retry") == {"rows": 12}
        while server.arrived < sent + 2:
            await asyncio.sleep(0.01)
        retry = view.run
        assert view.state()["retrying"] == {"done": 0, "rows": 12}
        ask(view, "stop")
        server.resume()
        await retry
        await seen(lambda: retry.state == "stopped")
        await asyncio.to_thread(view.wait, PATIENCE)
        await asyncio.to_thread(server.wait_idle)
        assert server.arrived < sent + 12
        answered = statuses(retry).count("answered")
        state = view.state()
        assert (state["retrying"], state["ended"]) == (None, True)
        assert state["look"]["places"] == answered == server.arrived - sent
        assert len(view.selected) == 12
        view.close()
        asker.end_process()


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


def test_a_name_leads_to_the_run_behind_it_or_to_a_frame(run: Run) -> None:
    frame = reviews(3)
    names = {"labeled": run.frame, "labeled_run": run, "other": frame, "n": 5}
    assert result_named("labeled", names) is run
    assert result_named("labeled_run", names) is run
    assert result_named("other", names) is frame
    with pytest.raises(ConfigurationError, match="did you mean 'labeled'"):
        result_named("labelled", names)
    with pytest.raises(ConfigurationError, match="no result 'n'"):
        result_named("n", names)


def test_in_a_terminal_the_facts_are_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ended_run(reviews(30), tmp_path).show()
    ondine_nb.show(reviews(12))
    printed = capsys.readouterr().out
    assert printed.startswith("labeled: reviews")
    assert "the first 10 of 30 rows" in printed
    assert "frame: 12 rows" in printed


def test_what_is_no_frame_is_refused_with_its_remedy() -> None:
    with pytest.raises(ConfigurationError, match="make a frame of it"):
        ondine_nb.show([1, 2])


# --- in a real kernel, and without a browser -----------------------------------------------------


@pytest.mark.slow
def test_in_a_kernel_100_000_rows_send_one_page_and_the_view_is_shown_once(tmp_path: Path) -> None:
    made = (
        "from pathlib import Path; from tests.notebook.ended_runs import *\n"
        f"run = ended_run(reviews(100_000), Path({str(tmp_path)!r}))"
    )
    with Kernel(tmp_path / "home") as kernel:
        assert kernel.run(made).status == "ok"
        cell = kernel.run("view = run.show(); view.wait(300); view")
        assert cell.status == "ok", cell.traceback
        sent = sum(len(json.dumps(message["content"])) for message in cell.messages)
        assert sent < 400_000  # twice the script and the sheet: at first, and when rows were read
        kinds = ("display_data", "update_display_data")  # by when the rows are read
        displays = [it["data"] for kind in kinds for it in cell.of_type(kind)]
        static = [data.get("text/plain", "") for data in displays]
        assert any("100,000 rows" in text for text in static)
        shown = [it for it in cell.of_type("display_data") if WIDGET in it["data"]]
        assert len(shown) == 1
        again = kernel.run("view")
        assert len([it for it in again.of_type("display_data") if WIDGET in it["data"]]) == 1
        bound = kernel.run(
            "labeled_selected = 1\n"
            "print(view._on_look(names=['text'], conditions=[{'text': 'dented'}])['count'])\n"
            "print(view._on_frame()['name'], len(labeled_selected_2), labeled_selected)\n"
            "print(view._on_frame()['name'])"
        )
        assert bound.status == "ok", bound.traceback
        assert bound.text.split("\n")[:3] == [
            *("20000", "labeled_selected_2 20000 1", "labeled_selected_2")
        ]


@pytest.mark.slow
def test_nbconvert_shows_the_static_view_once(tmp_path: Path, server: MessagesServer) -> None:
    surroundings = environment(tmp_path, ANTHROPIC_BASE_URL=server.url)
    path = notebook(tmp_path, FRAME, "%%ondine out -i df\nTell {text}", "%ondine show out")
    execute(path, surroundings)
    assert html_of(path, 2).count('class="ondine-results-static') == 1
    live, static, *_ = outputs(path, 2)
    assert WIDGET in live["data"]
    assert "30 rows" in "".join(static["data"]["text/plain"])
    saved = nbformat.read(path, as_version=4)
    saved.metadata.pop("widgets", None)  # as JupyterLab saves it
    nbformat.write(saved, path)
    page = command(surroundings, "nbconvert", "--to", "html", str(path))
    assert page.returncode == 0, page.stderr
    html = path.with_suffix(".html").read_text()
    assert html.count('class="ondine-results-static') == 1
    assert "the first 20 of 30 rows" in html


def test_more_views_than_fit_close_the_oldest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_views, "in_notebook", lambda: True)
    monkeypatch.setattr(results_view, "in_notebook", lambda: True)
    monkeypatch.setattr(live_views.Place, "show", lambda *_: None)
    monkeypatch.setattr(live_views.Place, "beside", lambda self: self)
    first = run.show()
    for _ in range(live_views.MOST_VIEWS):
        run.show()
    assert len(live_views._OPEN) == live_views.MOST_VIEWS
    assert first.closed
    while live_views._OPEN:
        live_views._OPEN[-1].close()
