"""The results view in JupyterLab, Notebook 7 and marimo, by clicks and keys as a person's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.patience import PATIENCE
from tests.server import MessagesServer

from .conftest import Jupyter, Notebook, Opener, Reopener

pytestmark = pytest.mark.browser

SCHEMA = "--schema 'mood: good|bad|so so, score: float, why: str'"
FRAME = """df = pd.DataFrame({'text': [f'review {at} of a thing' for at in range(ROWS)]})
for at in range(8): df[f'more_{at}'] = range(at, at + ROWS)"""
SHOW = "view = out_run.show()"


@pytest.fixture
def quick() -> Iterator[MessagesServer]:
    with MessagesServer() as server:
        yield server


def shown(notebook: Notebook, at: int) -> Locator:
    view = notebook.cell(at).locator(".ondine-results")
    view.locator(".scroll tr[data-row]").first.wait_for()
    return view


def button(view: Locator, name: str) -> Locator:
    return view.get_by_role("button", name=name, exact=True)


def brush(view: Locator, low: float, high: float) -> None:
    plot = view.locator(".hist").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    mouse, y = view.page.mouse, box["y"] + 30
    mouse.move(box["x"] + low * box["width"], y)
    mouse.down()
    mouse.move(box["x"] + high * box["width"], y, steps=5)
    mouse.up()


def look_through(view: Locator) -> None:
    """Click a bar, brush a histogram, sort by a header, open a row, press j five times."""
    view.locator('[data-facet="mood"] [data-value="good"]').click()
    expect(view.locator(".chip")).to_have_text("mood = good")
    brush(view, 0.01, 0.6)
    expect(view.locator(".chip").nth(1)).to_contain_text("score <")
    view.locator("th", has_text="score").get_by_role("button").click()
    expect(view.locator("th[aria-sort=ascending]")).to_contain_text("score")
    rows = view.locator(".scroll tr[data-row]")
    shown = rows.evaluate_all("them => them.slice(0, 6).map(it => it.dataset.row)")
    rows.first.locator('[data-field="mood"]').click()
    region = view.get_by_role("region")
    expect(region).to_have_attribute("aria-label", f"row {shown[0]}")
    expect(view).to_be_focused()
    for _ in range(5):
        view.page.keyboard.press("j")
    expect(region).to_have_attribute("aria-label", f"row {shown[5]}")
    expect(view.locator("tr.on")).to_have_attribute("data-row", shown[5])


@pytest.mark.parametrize("where", ["lab/tree", "notebooks"])
def test_a_user_looks_through_2_000_rows_of_12_columns(
    open_notebook: Opener, quick: MessagesServer, where: str
) -> None:
    notebook = open_notebook(
        FRAME.replace("ROWS", "2000"),
        f"%%ondine out -i df --quiet {SCHEMA}\nTell {{text}}",
        SHOW,
        "got = view.selected\nprint(len(got), set(got.mood), got.score.is_monotonic_increasing)",
        "print(len(out_selected))",
        server=quick,
        where=where,
    )
    notebook.run(1)
    notebook.run(2)
    sent = quick.arrived
    notebook.run(3)
    view = shown(notebook, 3)
    assert notebook.page.locator(".ondine-results").count() == 1
    expect(notebook.cell(3).locator(".ondine-results-static")).to_be_hidden()
    cells = notebook.page.locator(".jp-CodeCell").count()
    look_through(view)
    for key in ("a", "b", "x", "ArrowDown", "Shift+Enter"):
        notebook.page.keyboard.press(key)
    assert notebook.page.locator(".jp-CodeCell").count() == cells
    button(view, "Clear").click()
    expect(view.locator(".count")).to_have_text("2,000 rows")
    view.locator('[data-facet="mood"] [data-value="bad"]').click()
    expect(view.locator(".chip")).to_have_text("mood = bad")
    count = view.locator(".count").inner_text().split(" ")[0].replace(",", "")
    button(view, "as frame").click()
    expect(view.locator(".state-line")).to_contain_text("out_selected holds these")
    assert notebook.run(4).strip() == f"{count} {{'bad'}} True"
    assert notebook.run(5).strip() == count
    assert quick.arrived == sent


def test_failed_rows_are_asked_again_and_show_their_new_outcome(open_notebook: Opener) -> None:
    broken = True

    def plan(body: Any, _attempt: int) -> str | None:
        at = int(body["messages"][0]["content"].split()[-1])
        return {1: "refusal", 2: "refusal", 5: "cut"}.get(at) if broken else None

    with MessagesServer(plan=plan) as server:
        notebook = open_notebook(
            "%%ondine out -i frame(12,'again') --quiet\nTell {text}",
            "%ondine show out",
            "print(out.response.isna().sum())",
            server=server,
        )
        notebook.run(1)
        notebook.run(2)
        view = shown(notebook, 2)
        assert notebook.run(3).strip() == "3"
        sent, broken = server.arrived, False
        expect(view.locator(".failed")).to_contain_text("3 failed rows")
        view.locator(".failed").get_by_role("button", name="cut at max_tokens 1").click()
        button(view, "Retry 1 failed").click()
        expect(view.locator(".failed")).to_contain_text("2 failed rows")
        expect(button(view, "Retry 2 failed")).to_be_visible()  # the retry is over
        assert server.arrived == sent + 1
        button(view, "Retry 2 failed").click()
        expect(view.locator(".failed")).to_be_hidden()
        assert server.arrived == sent + 3
        expect(view.locator(".scroll tr[data-row]")).not_to_have_count(0)
        assert notebook.run(3).strip() == "0"
        static = notebook.save()[2][1]
        assert "failed" not in static["data"]["text/plain"]


def test_a_run_that_goes_on_is_shown_as_it_goes(open_notebook: Opener) -> None:
    with MessagesServer(latency=0.25) as slow:
        notebook = open_notebook(
            "%%ondine out -i frame(40,'go') --background --quiet\nTell {text}", SHOW, server=slow
        )
        slow.pause()
        notebook.run(1)
        notebook.run(2)
        view = shown(notebook, 2)
        expect(view).to_contain_text("40 not run")
        expect(view.locator(".pill")).to_have_text("running")
        slow.resume()
        expect(view.locator(".pill")).to_have_text("done")
        expect(view.locator(".scroll tr[data-row]").first).not_to_contain_text("missing")


def test_after_a_restart_one_line_says_it_and_after_a_reload_the_static_view_stands_there(
    open_notebook: Opener, jupyter: Jupyter, reopen: Reopener, quick: MessagesServer
) -> None:
    notebook = open_notebook(
        "%%ondine out -i frame(30,'keep') --quiet\nTell {text}", SHOW, server=quick
    )
    notebook.run(1)
    notebook.run(2)
    view = shown(notebook, 2)
    notebook.save()
    notebook.reload(2, ".ondine-results")
    view = shown(notebook, 2)
    expect(notebook.cell(2).locator(".ondine-results-static")).to_be_hidden()
    (session,) = [it for it in jupyter.ask("/api/sessions") if it["path"] == notebook.path.name]
    jupyter.ask(f"/api/kernels/{session['kernel']['id']}/restart", "POST")
    notebook.page.wait_for_timeout(1000)
    view.focus()
    for _ in range(20):  # the front end takes a moment to see it
        notebook.page.keyboard.press("j")
        notebook.page.keyboard.press("Enter")
        if view.locator(".state-line").is_visible():
            break
        notebook.page.wait_for_timeout(500)
    expect(view.locator(".state-line")).to_contain_text(re.compile("[Rr]un the cell again"))
    expect(view.locator(".state-line")).to_have_count(1)
    reopened = reopen(notebook)
    static = reopened.cell(2).locator(".ondine-results-static")
    expect(static).to_be_visible()
    expect(static).to_contain_text("the first 20 of 30 rows")
    reopened.page.wait_for_timeout(1500)
    assert "model not found" not in reopened.cell(2).inner_text().lower()
    assert "Loading widget" not in reopened.cell(2).inner_text()


# --- marimo --------------------------------------------------------------------------------------

MARIMO = """import marimo
app = marimo.App()

@app.cell
def _():
    import ondine_nb, pandas as pd
    moods = ["good", "bad", "so so"]
    frame = pd.DataFrame({"text": [f"a review of a thing {at}" for at in range(2000)],
                          "mood": [moods[at % 3] for at in range(2000)],
                          "score": [at % 997 / 997 for at in range(2000)]})
    view = ondine_nb.show(frame)
    view
    return view,

if __name__ == "__main__":
    app.run()
"""


def test_in_marimo_a_frame_is_looked_through(
    in_marimo: Callable[[str], str], browser: BrowserContext
) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": 1300, "height": 1400})
    page.goto(in_marimo(MARIMO))
    view = page.locator(".ondine-results")
    view.locator(".scroll tr[data-row]").first.wait_for(timeout=PATIENCE * 1000)
    look_through(view)
    page.close()
