"""A run over groups in JupyterLab: its card, and the rows that an answer names, by clicks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.grouping import answered
from tests.server import MessagesServer

from .conftest import Opener

pytestmark = pytest.mark.browser

FRAME = "df = frame(160, 'review').assign(brand=['acme', 'best'] * 80)"
FINDS = "df['text'] = [text + '!' * (at % 20 == 0) for at, text in enumerate(df['text'])]"
RUN = (
    "%%ondine found -i df --by brand --group-tokens 200 --schema 'n: int, rows: list[row]'\n"
    "What do they say?\n\n{text}"
)


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answered) as running:
        yield running


def test_a_number_of_a_row_opens_that_row_beside_the_answer(
    open_notebook: Opener, server: MessagesServer
) -> None:
    notebook = open_notebook(f"{FRAME}\n{FINDS}", RUN, "found_run.show()", server=server)
    for at in (1, 2, 3):
        notebook.run(at)
    notebook.page.keyboard.press("Control+B")
    card = notebook.cell(2).locator(".ondine-run")
    expect(card).to_contain_text("2 groups of 160 rows · 2 levels")
    results = notebook.cell(3).locator(".ondine-results")
    results.locator("tr[data-place='0'] td").first.click()
    cited = results.locator(".cited details")
    expect(cited).to_have_count(8)
    rows = results.locator(".fields > li[data-field='rows']")
    rows.get_by_role("button", name="row 40", exact=True).click()
    opened = results.locator(".cited details[open]")
    expect(opened).to_have_attribute("data-cited", "40")
    expect(opened.locator(".text")).to_have_text("review 40!")
