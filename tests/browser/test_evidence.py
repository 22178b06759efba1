"""Evidence in JupyterLab: a run by its cell, its quotes in the texts, in both themes and widths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.notebook.shots import CONTRAST
from tests.server import MessagesServer
from tests.server.answers import prompt_of

from .conftest import Opener, Shots

pytestmark = pytest.mark.browser

WORD = "It was sold for {} crowns, and never paid. Delivery is free"
RUN = (
    "%%ondine sales --schema 'price: int, paid: bool, delivery: free|charged' --evidence all "
    f"-i frame(9,{WORD!r})\nWhat does it say? {{text}}"
)


def answer(body: Any) -> str:
    """Verbatim, without its "never", or not at all, by the row."""
    at = int(prompt_of(body).split()[-1])
    paid = ("and never paid", "and paid. Delivery is free", "they paid in gold")[at % 3]
    said = {"price_evidence": "sold for", "price": at, "paid_evidence": paid, "paid": at % 3 > 0}
    return json.dumps({**said, "delivery_evidence": "Delivery is FREE", "delivery": "free"})


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answer) as running:
        yield running


def lit(view: Locator) -> list[str]:
    found: list[str] = view.locator(".text .lit[data-evidence]").evaluate_all(
        "them => them.map(it => it.dataset.evidence)"
    )
    return found


def test_a_value_shows_its_quote_and_a_quote_its_value(
    open_notebook: Opener, server: MessagesServer, shots: Shots
) -> None:
    notebook = open_notebook(
        RUN, "sales_run.show()", "sales_run.review(queue='in doubt')", server=server
    )
    for at in (1, 2, 3):
        notebook.run(at)
    notebook.page.keyboard.press("Control+B")
    results = notebook.cell(2).locator(".ondine-results")
    results.locator("[data-facet='evidence']").get_by_role("button", name="missing").click()
    expect(results.locator(".count")).to_have_text("3 of 9 rows")
    results.locator("[data-facet='evidence']").get_by_role("button", name="near").click()
    expect(results.locator(".chip")).to_contain_text("near")
    results.locator("tr[data-place='0'] td").first.click()
    results.locator(".fields > li[data-field='delivery']").hover()
    shining = results.locator(".text .lit[data-evidence]")
    expect(shining).to_have_count(1)
    expect(shining).to_have_attribute("data-evidence", "delivery")
    results.locator("[data-evidence='price']").first.click()
    expect(results.locator(".fields > li.lit")).to_have_attribute("data-field", "price")

    review = notebook.cell(3).locator(".ondine-review")
    review.locator("[data-row]").first.wait_for()
    expect(review.locator("[data-queue='in doubt']")).to_have_attribute("aria-selected", "true")
    paid = review.locator(".form [data-field='paid']")
    expect(paid.locator(".match")).to_contain_text("missing")
    review.locator(".pane [data-evidence='delivery']").first.click()
    expect(review.locator(".form .q.on")).to_have_attribute("data-field", "delivery")
    assert results.locator(".facets").evaluate("it => getComputedStyle(it).display") == "grid", (
        "the sheet of one view has taken the other's away"
    )
    for theme in notebook.themes():
        for width in notebook.widths(1280, 600):
            for name, view in (("results", results), ("review", review)):
                notebook.fit(view, width)
                fits = view.evaluate("it => it.scrollWidth <= it.clientWidth + 1")
                assert fits, (name, theme, width)
                shots(view, f"evidence-lab-{name}-{theme}-{width}.png")
        assert notebook.page.evaluate(CONTRAST) == [], theme
