"""The review in Chromium, its Python beside it: what keys do, and how odd texts look."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from ondine_nb import Run
from ondine_nb.notebook.results import Review
from tests.notebook.ended_runs import EVIL, ended_run
from tests.notebook.live_page import LivePage
from tests.notebook.shots import CONTRAST, DARK, LIGHT

pytestmark = pytest.mark.browser

LOW = CONTRAST.replace(".ondine-run *, .ondine-view button", ".ondine-review *")
TEXTS = [
    "A plain one.",
    "مرحبا بالعالم، منتج رائع جدا 🎉 " * 40,
    "wordwithoutanend" * 400,
    *EVIL[:2],
    "\n\n".join(f"Paragraph {at} of a long letter, which goes on for a while." for at in range(60)),
]
CHOICES = [f"choice {letter}" for letter in "abcdefghijkl"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    data = pd.DataFrame({"text": TEXTS, "<b>other</b>": TEXTS[::-1]})
    schema = f"topic: {'|'.join(CHOICES)}, why: str, count: int?, tags: list[str]"
    made = ended_run(data, tmp_path, "Tell {text}", failing=0, schema=schema)
    for at, row in enumerate(made.plan.rowset.rows):
        assert row is not None
        row.outputs = {
            "topic": CHOICES[at],
            "why": TEXTS[at],
            "count": None,
            "tags": ["a", EVIL[0]],
        }
    return made


def held(live: LivePage) -> str:
    found = live.root.locator('[data-field="topic"] [aria-checked="true"]')
    return str(found.get_attribute("data-value"))


def accept(live: LivePage) -> None:
    """Enter, and the next row."""
    before = live.root.locator(".judge").get_attribute("data-row")
    live.page.keyboard.press("Enter")
    expect(live.root.locator(f'.judge[data-row="{before}"]')).to_have_count(0)


def test_choices_beyond_the_ninth_are_reached_by_arrows(page: Page, run: Run) -> None:
    review = Review(run, queue="one of each topic")
    live = LivePage(page, review, LIGHT)
    live.root.focus()
    expect(live.root.locator('[data-field="topic"] .hint')).to_contain_text("1–9 ← → choose")
    expect(live.root.locator('[data-field="topic"] .choice kbd')).to_have_count(9)
    first = CHOICES.index(held(live))
    page.keyboard.press("9")
    assert held(live) == "choice i"
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert held(live) == "choice l"
    page.keyboard.press("ArrowRight")
    assert held(live) == "choice a"
    page.keyboard.press("ArrowLeft")
    expect(live.root).to_be_focused()
    page.keyboard.press("Enter")
    expect(live.root.locator(".strip")).to_contain_text(f"{CHOICES[first]} → choice l")
    assert run.labels["topic"].tolist() == ["choice l"]


def test_odd_texts_are_read_and_typed_and_run_nothing(page: Page, run: Run) -> None:
    live = LivePage(page, Review(run), LIGHT)
    live.root.focus()
    for at in range(len(TEXTS)):
        for tab in ("Prompt", "Other columns 1", "Text"):
            live.root.get_by_role("tab", name=tab, exact=True).click()
        live.root.focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Control+A")
        page.keyboard.type(EVIL[1])
        accept(live)
        if at + 1 < len(TEXTS):  # the digits choose in the first field again
            expect(live.root.locator('[data-field="topic"]')).to_have_class("q on")
    expect(live.root.locator(".end")).to_be_visible()
    assert set(run.labels["why"]) == {EVIL[1]}
    assert live.root.locator("script, img, a, iframe").count() == 0
    assert page.evaluate("window.hurt ?? 0") == 0
    assert run.corrected["why"].tolist() == [EVIL[1]] * len(TEXTS)
    assert run.score("why").accuracy == pytest.approx(1 / len(TEXTS))


@pytest.mark.parametrize("theme", [LIGHT, DARK.replace("#111;", "#212121;")])
def test_it_fits_and_reads_at_every_width(page: Page, run: Run, theme: str) -> None:
    live = LivePage(page, Review(run), theme)
    live.root.focus()
    for _ in TEXTS:
        for width in (1280, 800, 600):
            page.set_viewport_size({"width": width, "height": 1000})
            assert live.root.evaluate("it => it.scrollWidth <= it.clientWidth + 1"), width
        assert page.evaluate(LOW) == []
        accept(live)
