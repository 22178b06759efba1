"""The same cell in Notebook 7."""

from __future__ import annotations

import pytest

from tests.server import MessagesServer

from .conftest import Opener

pytestmark = pytest.mark.browser


def test_in_notebook_7_the_cell_runs_shows_its_card_and_stops(
    open_notebook: Opener, slow: MessagesServer
) -> None:
    notebook = open_notebook(
        "%%ondine out -i frame(300,'seven')\nTell {text}",
        "print(int(out.response.notna().sum()))",
        server=slow,
        where="notebooks",
    )
    notebook.start(1)
    notebook.wait_for(1, "[data-state=running]")
    notebook.page.wait_for_function(
        "Number(document.querySelector('.ondine-run').dataset.done) > 10"
    )
    assert notebook.click_and_time(1, "Stop") <= 2000
    notebook.wait_for(1, "[data-state=stopped]")
    assert notebook.cell(1).locator(".jp-OutputArea :is(button, .jupyter-widgets)").count() == 0
    assert 10 < int(notebook.run(2)) < 300
    notebook.run(1)
    notebook.wait_for(1, "[data-state=done][data-done='300']")
    slow.wait_idle()
    assert (slow.arrived, max(slow.ledger.by_prompt().values())) == (300, 1)
