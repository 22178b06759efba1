"""The same cell, workbench and results in Notebook 7."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.server import MessagesServer

from .conftest import Opener
from .test_panel import SCHEMA, bench, judge, press, settled, source

__all__ = ["judge"]

pytestmark = pytest.mark.browser


def test_in_notebook_7_the_cell_runs_shows_its_card_and_stops(
    open_notebook: Opener, held: MessagesServer
) -> None:
    notebook = open_notebook(
        "%%ondine out -i frame(300,'seven')\nTell {text}",
        "print(int(out.response.notna().sum()))",
        server=held,
        where="notebooks",
    )
    notebook.start(1)
    notebook.wait_for(1, "[data-state=running]")
    notebook.until("Number(document.querySelector('.ondine-run').dataset.done) > 10")
    held.wait_for(60)  # no answer comes any more: what ends the cell is the click
    notebook.click(1, "Stop")
    notebook.ended(1)
    held.resume()
    notebook.wait_for(1, "[data-state=stopped]")
    notebook.assert_over(1)
    assert 10 < int(notebook.run(2)) < 300
    notebook.run(1)
    notebook.wait_for(1, "[data-state=done][data-done='300']")
    held.wait_idle()
    assert (held.arrived, max(held.ledger.by_prompt().values())) == (300, 1)


def test_in_notebook_7_the_workbench_previews_compares_and_runs_all(
    open_notebook: Opener, judge: MessagesServer
) -> None:
    notebook = open_notebook(
        source("Seven", more=SCHEMA), "labeled_run", server=judge, where="notebooks"
    )
    notebook.run(1)
    panel = bench(notebook)
    expect(panel.locator(".forecast")).to_contain_text("Whole run")
    press(panel, "Preview")
    settled(panel, 20)
    panel.get_by_label("Prompt", exact=True).fill("Judged 5 of 5 strict, and {tone}: {text}")
    press(panel, "Compare")
    settled(panel, 20)
    expect(panel.locator(".ondine-comparison")).to_contain_text("the same")
    press(panel, "As code")
    expect(panel.locator(".code textarea").first).to_have_value(re.compile("%%ondine labeled"))
    press(panel, "Run all")
    notebook.wait_for(1, "[data-state=done][data-done='60']")
    expect(notebook.cell(1).locator(".ondine-panel-static")).to_be_hidden()
