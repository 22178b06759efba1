"""Evidence in Chromium, the views' Python beside it: fields and quotes point at each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from ondine_nb import Run
from ondine_nb.notebook.results import ResultsView, Review
from tests.notebook.live_page import LivePage
from tests.notebook.results.evidence_run import ContractServer, evidence_run
from tests.notebook.shots import CONTRAST, DARK, LIGHT

pytestmark = pytest.mark.browser

LOW = CONTRAST.replace(".ondine-run *, .ondine-view button", ".ondine-ui *")
IN_VIEW = """it => {
  const at = it.getBoundingClientRect(), of = it.closest(".pane").getBoundingClientRect();
  return at.top >= of.top - 1 && at.bottom <= of.bottom + 1;
}"""
LINE = """it => {
  const style = getComputedStyle(it);
  return style.textDecorationColor + style.textDecorationStyle;
}"""
FIELDS = ("total", "notice", "law", "parties")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder: Path = tmp_path_factory.mktemp("evidence")
    with ContractServer() as server:
        made = evidence_run(server, folder)
        yield made
        made.pipeline.journal.close()


def quotes(box: Locator, field: str) -> Locator:
    return box.locator(f"[data-evidence='{field}']")


def lit(box: Locator) -> set[str]:
    found = box.locator(".text .lit[data-evidence]").evaluate_all(
        "them => them.map(it => it.dataset.evidence)"
    )
    return set(found)


def test_in_results_each_field_has_its_colour_and_its_sign_in_the_text(
    page: Page, run: Run
) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    view = ResultsView(run)
    view._look()
    live = LivePage(page, view, LIGHT)
    live.root.locator("tr[data-place='0'] td").first.click()
    pane = live.root.locator(".pane")
    looks = set()
    for sign, field in enumerate(FIELDS, 1):
        expect(quotes(pane, field).last.locator("sup")).to_have_text(str(sign))
        looks.add(quotes(pane, field).first.evaluate(LINE))
    assert len(looks) == len(FIELDS), "two fields look alike"
    assert quotes(pane, "notice").first.inner_text().startswith("three months’ notice")
    item = pane.locator(".fields > li[data-field='notice']")
    expect(item.locator(".match")).to_have_text("near")
    item.hover()
    assert lit(pane) == {"notice"}
    quotes(pane, "law").first.click()
    expect(pane.locator(".fields > li.lit")).to_have_attribute("data-field", "law")
    assert lit(pane) == {"law"}


def test_what_isn_t_in_the_text_says_so_and_is_a_filter_away(page: Page, run: Run) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    view = ResultsView(run)
    view._look()
    live = LivePage(page, view, LIGHT)
    facet = live.root.locator("[data-facet='evidence']")
    facet.get_by_role("button", name="missing").click()
    expect(live.root.locator(".count")).to_have_text("1 of 3 rows")
    live.root.locator("tr[data-place='0'] td").first.click()
    law = live.root.locator(".fields > li[data-field='law']")
    expect(law.locator(".match")).to_have_text("missing: not in the text")
    total = live.root.locator(".fields > li[data-field='total']")
    expect(total.locator(".match")).to_have_text("approximate: may say something else")


def test_in_the_review_a_field_shows_its_quote_and_a_quote_its_field(page: Page, run: Run) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    live = LivePage(page, Review(run, rows=[2]), LIGHT)
    pane, form = live.root.locator(".left .pane"), live.root.locator(".form")
    quote = quotes(pane, "notice").first
    assert not quote.evaluate(IN_VIEW), "it stands 40,000 characters further down"
    form.locator("[data-field='notice']").hover()
    assert lit(pane) == {"notice"}
    assert quote.evaluate(IN_VIEW)
    quotes(pane, "law").first.click()
    expect(form.locator(".q.on")).to_have_attribute("data-field", "law")
    expect(live.root.locator(":focus")).to_have_attribute("data-key", "field-law")
    form.locator("[data-quotes='parties']").nth(0).click()
    assert quotes(pane, "parties").first.evaluate(IN_VIEW)


@pytest.mark.parametrize("name", ["results", "review"])
@pytest.mark.parametrize("width", [1280, 600])
@pytest.mark.parametrize(("theme", "style"), [("light", LIGHT), ("dark", DARK)])
def test_evidence_can_be_read_in_every_theme_and_width(
    page: Page, run: Run, theme: str, style: str, width: int, name: str, tmp_path: Path
) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    view = ResultsView(run) if name == "results" else Review(run, rows=[1])
    if isinstance(view, ResultsView):
        view._look()
    live = LivePage(page, view, style)
    if isinstance(view, ResultsView):
        live.root.locator("tr[data-place='1'] td").first.click()
        live.root.locator(".fields > li").first.wait_for()
    assert page.evaluate(LOW) == []
    assert page.evaluate("document.body.scrollWidth") <= width
    folder = Path(os.environ.get("ONDINE_SHOTS") or tmp_path)
    page.screenshot(path=folder / f"evidence-{name}-{theme}-{width}.png")
