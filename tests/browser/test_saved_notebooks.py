"""What a notebook holds that is saved while a run goes on, or after one that took its time."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests import forks
from tests.server import MessagesServer

from .conftest import Jupyter, Notebook, Opener, Reopener, Shots

pytestmark = pytest.mark.browser


def run_cell(rows: int, word: str, line: str = "out -i") -> str:
    return f"%%ondine {line} frame({rows},'{word}')\nTell {{text}}"


def start_and_save(notebook: Notebook) -> int:
    """Start cell 1, save when there is something to save; gives the rows that are done by then."""
    notebook.start(1)
    stand_in = notebook.cell(1).locator(".ondine-saved:not([data-done='0'])")
    stand_in.wait_for(state="attached")
    expect(stand_in).to_be_hidden()
    expect(notebook.card(1)).to_be_visible()
    assert notebook.page.locator(".ondine-run").count() == 1
    notebook.save()
    return int(stand_in.get_attribute("data-done") or 0)


def as_html(path: Path) -> Path:
    ended = forks.run(["-m", "nbconvert", "--to", "html", path])
    assert ended.returncode == 0, ended.stderr
    return path.with_suffix(".html")


def assert_nothing_is_missing(page: Page) -> None:
    shown = page.locator(".jp-OutputArea").first.inner_text().lower()
    assert "model not found" not in shown
    assert "loading widget" not in shown


def test_saved_in_mid_run_and_opened_without_its_kernel_the_card_is_there(
    open_notebook: Opener, reopen: Reopener, slow: MessagesServer, shots: Shots
) -> None:
    notebook = open_notebook(run_cell(900, "mid", "out --concurrency 4 -i"), server=slow)
    saved = start_and_save(notebook)
    reopened = reopen(notebook)
    stand_in = reopened.cell(1).locator(".ondine-saved")
    expect(stand_in).to_be_visible()
    expect(stand_in).to_have_attribute("data-state", "running")
    assert int(stand_in.get_attribute("data-done") or 0) >= saved > 0
    expect(stand_in).to_contain_text("of 900 rows")
    expect(stand_in).to_contain_text("run the cell again, or %ondine resume out")
    reopened.page.wait_for_timeout(1500)
    assert_nothing_is_missing(reopened.page)
    shots(reopened.cell(1), "saved-in-mid-run.png")
    page = reopened.page.context.new_page()
    page.goto(as_html(notebook.path).as_uri())
    expect(page.locator(".ondine-saved")).to_be_visible()
    assert page.locator(".jp-OutputArea-child:visible").count() == 1
    assert_nothing_is_missing(page)
    page.close()


def test_a_page_loaded_anew_in_mid_run_shows_the_saved_card_until_it_can_show_the_live_one(
    open_notebook: Opener, jupyter: Jupyter, slow: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(300, "anew", "out --concurrency 8 -i"), server=slow)
    start_and_save(notebook)
    slow.pause()  # the run can't end while the page is away
    notebook.page.reload()
    expect(notebook.cell(1).locator(".ondine-saved")).to_be_visible()
    assert_nothing_is_missing(notebook.page)
    jupyter.wait_for_page(notebook.path.name)
    slow.resume()
    notebook.wait_for(1, "[data-state=done][data-done='300']")
    expect(notebook.cell(1).locator(".ondine-saved")).to_be_hidden()


def test_after_a_run_that_took_its_time_the_final_card_is_all_that_shows(
    open_notebook: Opener, reopen: Reopener, slow: MessagesServer
) -> None:
    notebook = open_notebook(run_cell(250, "long", "out --concurrency 8 -i"), server=slow)
    notebook.run(1)
    notebook.wait_for(1, "[data-state=done][data-done='250']")
    cards = ["ondine-run" in it["data"].get("text/html", "") for it in notebook.save()[1]]
    assert (cards[0], cards.count(True)) == (True, 1)
    reopened = reopen(notebook)
    reopened.wait_for(1, "[data-state=done][data-done='250']")
    # In the place of the buttons JupyterLab writes that their widget is gone: it is not seen.
    gone = reopened.cell(1).get_by_text("model not found")
    expect(gone).to_have_count(1)
    expect(gone).to_be_hidden()
    assert reopened.cell(1).locator(".ondine-run:visible").count() == 1
    page = reopened.page.context.new_page()
    page.goto(as_html(notebook.path).as_uri())
    expect(page.locator(".ondine-run[data-state=done]")).to_be_visible()
    assert page.locator(".ondine-run").count() == 1
    assert_nothing_is_missing(page)
    page.close()


@pytest.mark.parametrize("where", ["lab/tree", "notebooks"])
def test_a_notebook_from_elsewhere_shows_each_view_once_as_it_was_saved(
    open_notebook: Opener, reopen: Reopener, where: str, shots: Shots
) -> None:
    schema = "--schema 'mood: good|bad, score: float'"
    with MessagesServer() as server:
        notebook = open_notebook(
            f"%%ondine out -i frame(12,'far {where[:3]}') {schema}\nTell {{text}}",
            "out_run.show()",
            "out_run.review()",
            server=server,
        )
        for at in (1, 2, 3):
            notebook.run(at)
        review = notebook.cell(3).locator(".ondine-review")
        review.locator("[data-row]").first.wait_for()
        review.focus()
        notebook.page.keyboard.press("Enter")
        expect(review.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "1")
        static = notebook.cell(3).locator(".ondine-review-static")
        expect(static).to_contain_text("1 of 12 reviewed")
        saved = notebook.save()  # by Ctrl+S, while the focus is in the view
        assert "1 of 12 reviewed" in saved[3][1]["data"]["text/plain"]

    def carry() -> None:
        book = nbformat.read(notebook.path, as_version=4)
        book.cells[2].outputs[1]["data"]["text/html"] += "<!-- of another machine: not trusted -->"
        nbformat.write(book, notebook.path)

    far = reopen(notebook, where, meanwhile=carry)
    far.page.wait_for_timeout(1500)  # time for the front end to look for widgets
    for at, says in ((1, "12 answered"), (2, "12 rows"), (3, "1 of 12 reviewed")):
        cell = far.cell(at)
        said = [text for text in cell.locator(".jp-OutputArea-output").all_inner_texts() if text]
        assert len(said) == 1, said
        assert cell.locator("style").count() == 0
        assert "widget" not in said[0].lower()
        assert says in said[0]
        shots(cell, f"untrusted-{at}.png")
    expect(far.cell(2).locator("meter")).not_to_have_count(0)
