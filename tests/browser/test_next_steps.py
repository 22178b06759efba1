"""What comes after a run: its card shows what came of it, and leads on by buttons."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.server import MessagesServer

from .conftest import Notebook, Opener, Shots

pytestmark = pytest.mark.browser

SCHEMA = "mood: good|bad, sure: float"
CELL = f"%%ondine out -i frame(40,'next') --schema '{SCHEMA}' --budget 1\nTell {{text}}"
NAMES = ["Look through", "Review", "Improve this prompt"]


def answer(body: dict[str, object]) -> str:
    number = int(str(body["messages"]).split("next ")[1].split("'")[0])
    return json.dumps({"mood": "bad" if number % 4 == 0 else "good", "sure": number / 40})


def buttons(notebook: Notebook, at: int) -> list[str]:
    return notebook.cell(at).locator(".ondine-retry button").all_inner_texts()


def test_look_through_and_review_open_under_the_card_one_at_a_time_and_close_again(
    open_notebook: Opener, shots: Shots
) -> None:
    with MessagesServer(answer=answer) as server:
        notebook = open_notebook(CELL, "1 + 1", server=server)
        notebook.run(1)
        card = notebook.wait_for(1, "[data-state=done]")
        expect(card).to_contain_text("mood choice")
        expect(card.locator("table.o-bars").first).to_contain_text("bad")
        assert card.locator("table.o-rows tbody tr").count() == 5
        expect(card).to_contain_text("5 of 40 rows, by chance")
        shown = notebook.cell(1).locator(".ondine-results")
        notebook.cell(1).get_by_role("button", name="Look through", exact=True).wait_for()
        assert buttons(notebook, 1) == NAMES
        shots(notebook.cell(1), "next-steps.png")
        notebook.click(1, "Look through")
        expect(shown).to_be_visible()
        assert notebook.card(1).count() == 1
        shots(notebook.cell(1), "next-steps-open.png")
        assert notebook.run(2) == "2"  # nothing of it comes into another cell
        notebook.click(1, "Look through")
        expect(shown).to_be_hidden()
        notebook.click(1, "Review")
        expect(notebook.cell(1).locator(".ondine-review")).to_be_visible()
        notebook.click(1, "Look through")
        expect(shown).to_be_visible()
        expect(notebook.cell(1).locator(".ondine-review")).to_be_hidden()


def test_improve_this_prompt_opens_the_workbench_with_what_the_cell_has(
    open_notebook: Opener, shots: Shots
) -> None:
    with MessagesServer(answer=answer) as server:
        notebook = open_notebook("tickets = frame(40,'next')", CELL, server=server)
        notebook.type(2, CELL.replace("frame(40,'next')", "tickets"))
        notebook.run(1)
        notebook.run(2)
        notebook.wait_for(2, "[data-state=done]")
        notebook.click(2, "Improve this prompt")
        panel = notebook.cell(2).locator(".ondine-panel")
        expect(panel).to_be_visible()
        shots(notebook.cell(2), "next-steps-panel.png")
        sent = server.ledger.requests
        panel.get_by_role("button", name="Preview", exact=True).click()
        expect(panel).to_contain_text("from journal")
        assert server.ledger.requests == sent  # the sample's rows are those of the run
        panel.get_by_role("button", name="As code", exact=True).click()
        code = panel.get_by_label("As code: a cell that does exactly this")
        expect(code).to_have_value(
            re.compile(f'%%ondine out -i tickets --schema "{re.escape(SCHEMA)}"')
        )
