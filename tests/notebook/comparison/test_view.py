"""The comparison in Chromium, its Python beside it: what clicks and keys do, in every width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import ondine_nb
from ondine_nb.evaluation import LabelSet
from ondine_nb.notebook.comparison import ComparisonView
from tests.notebook.ended_runs import EVIL
from tests.notebook.live_page import LivePage
from tests.notebook.shots import CONTRAST, DARK, LIGHT

from .two_runs import two_runs

pytestmark = pytest.mark.browser

LOW = CONTRAST.replace(".ondine-run *, .ondine-view button", ".ondine-comparison *")


def judged(folder: Path, rows: int = 40, failing: float = 0.05, **texts: Any) -> ComparisonView:
    runs = two_runs(folder, rows, failing, **texts)
    return ondine_nb.compare(*runs, field="urgency", labels="gold")


@pytest.fixture
def live(page: Page, tmp_path: Path) -> LivePage:
    return LivePage(page, judged(tmp_path), LIGHT)


def rows(live: LivePage) -> Locator:
    return live.root.locator("tr[data-row]")


def states(live: LivePage) -> list[str]:
    return [str(it.get_attribute("data-state")) for it in rows(live).all()]


def tab(live: LivePage, name: str) -> Locator:
    return live.root.locator(f"[data-tab='{name}']")


def comparison(live: LivePage) -> Any:
    view = live.view
    assert isinstance(view, ComparisonView)
    return view.comparison


@pytest.mark.parametrize("name", ["wrong", "fixed", "broke", "differ", "all"])
def test_a_tab_shows_as_many_rows_as_it_says(live: LivePage, name: str) -> None:
    wanted = comparison(live).tabs[name]
    expect(tab(live, name)).to_have_text(f"{name} {wanted}")
    tab(live, name).click()
    expect(tab(live, name)).to_have_attribute("aria-selected", "true")
    expect(rows(live)).to_have_count(wanted)
    if name in ("fixed", "broke"):
        assert set(states(live)) == {name}


def test_right_and_wrong_are_a_sign_a_word_and_a_colour(live: LivePage) -> None:
    tab(live, "broke").click()
    expect(rows(live)).to_have_count(comparison(live).tabs["broke"])
    row = rows(live).first
    before, after = row.locator("[data-side=a]"), row.locator("[data-side=b]")
    expect(before.locator(".sign svg")).to_have_count(1)
    expect(before.locator(".sign")).to_have_text("right")
    expect(after.locator(".sign")).to_have_text("wrong")
    colours = [
        it.locator(".sign").evaluate("it => getComputedStyle(it).color") for it in (before, after)
    ]
    assert colours[0] != colours[1]
    expect(row.locator(".badge")).to_have_text(" broke")


def test_a_cell_of_the_matrix_brings_its_rows_to_the_top_and_a_chip_says_so(
    live: LivePage,
) -> None:
    found = comparison(live)
    (label, answer), count = next(it for it in found.matrix(1)[2].items() if it[0][0] != it[0][1])
    cell = live.root.locator(f"[data-cell='{label}/{answer}']")
    cell.click()
    chip = live.root.locator(".chip")
    expect(chip).to_contain_text(f"label {label}, v4 answered {answer}: first")
    for row in rows(live).all()[:count]:
        expect(row.locator("[data-field=label]")).to_have_text(label)
        expect(row.locator("[data-side=b] .tag")).to_have_text(answer)
    expect(rows(live)).to_have_count(40)
    expect(cell).to_be_focused()  # what was clicked keeps the focus over the redraw
    chip.get_by_role("button").click()
    expect(chip).to_have_count(0)
    live.root.locator("[data-cell=fixed]").click()
    expect(chip).to_contain_text("fixed: first")
    assert states(live)[0] == "fixed"


def test_the_matrix_of_the_other_side_is_a_click_away(live: LivePage) -> None:
    found = comparison(live)
    matrix = live.root.locator(".aside .cm").first
    for side in (1, 0):
        live.root.locator(f"[data-key=side-{side}]").click()
        _, _, cells = found.matrix(side)
        for (label, answer), count in cells.items():
            expect(matrix.locator(f"[data-cell='{label}/{answer}']")).to_have_text(str(count))


def test_a_row_opens_in_full_by_click_and_by_key(live: LivePage) -> None:
    first, second = (rows(live).nth(at) for at in (0, 1))
    first.click()
    full = live.root.locator("[data-full]")
    expect(full.locator("[data-column=body]")).to_contain_text(
        comparison(live).a.frame.native["body"][int(str(first.get_attribute("data-row")))]
    )
    expect(full.locator("[data-field=refund]")).to_be_visible()
    live.page.keyboard.press("j")
    expect(full).to_have_attribute("data-full", str(second.get_attribute("data-row")))
    live.page.keyboard.press("Escape")
    expect(full).to_have_count(0)
    live.root.focus()
    live.page.keyboard.press("Enter")
    expect(full).to_have_count(1)


def test_another_field_is_compared_by_the_select(live: LivePage) -> None:
    live.root.get_by_label("field").select_option("topic")
    expect(live.root.locator(".scores")).to_contain_text("no row has a label; the answers:")
    expect(live.root.locator("[data-tab]")).to_have_count(2)
    expect(rows(live).first.locator("[data-side=a]")).to_contain_text("topic")


def test_more_rows_come_when_they_are_asked_for(page: Page, tmp_path: Path) -> None:
    live = LivePage(page, judged(tmp_path, 300), LIGHT)
    expect(rows(live)).to_have_count(40)
    more = live.root.get_by_role("button", name="more")
    more.click()
    expect(rows(live)).to_have_count(140)
    seen = [str(it.get_attribute("data-row")) for it in rows(live).all()]
    assert len(set(seen)) == 140
    assert max(live.sent) < 60_000


def test_a_key_labels_the_row_and_the_figures_follow(page: Page, tmp_path: Path) -> None:
    live = LivePage(page, ondine_nb.compare(*two_runs(tmp_path, 12)), LIGHT)
    expect(live.root.locator(".head")).to_contain_text("no labels")
    rows(live).first.click()
    row = str(rows(live).first.get_attribute("data-row"))
    page.keyboard.press("2")
    labelled = live.root.locator(f"[data-row='{row}'] [data-field=label]")
    expect(labelled).to_have_text("medium")
    expect(live.root.locator(".head")).to_contain_text("1 labelled")
    live.root.locator("[data-key=choice-2]").click()
    expect(labelled).to_have_text("high")
    said = [label.fields for label in LabelSet("v4", tmp_path).labels]
    assert said == [{"urgency": "medium"}, {"urgency": "high"}]


def test_keys_stay_in_the_view(live: LivePage) -> None:
    live.page.evaluate("() => document.addEventListener('keydown', it => { window.out = it.key; })")
    rows(live).first.click()
    for key in ("j", "k", "Enter", "1", "Escape", "d", "x"):
        live.page.keyboard.press(key)
    assert live.page.evaluate("() => window.out") is None


def test_a_dead_kernel_is_one_line_and_what_was_loaded_stays(live: LivePage) -> None:
    live.page.evaluate("() => window.dieKernel()")
    tab(live, "broke").click()
    expect(live.root.locator(".state-line")).to_contain_text("kernel is gone")
    expect(rows(live)).to_have_count(40)


def test_nothing_of_the_data_is_markup(page: Page, tmp_path: Path) -> None:
    texts = [text for text in EVIL if "\ud800" not in text]
    view = judged(tmp_path, 40, body=[f"{texts[at % len(texts)]} {at}" for at in range(40)])
    live = LivePage(page, view, LIGHT)
    for row in (0, 1, 2):
        rows(live).nth(row).click()
        expect(live.root.locator("[data-full]")).to_have_count(1)
    assert page.evaluate("() => window.hurt") is None
    assert live.root.locator("script, img").count() == 0


@pytest.mark.parametrize("width", [1280, 800, 600])
@pytest.mark.parametrize("style", [LIGHT, DARK], ids=["light", "dark"])
def test_it_fits_and_can_be_read_in_both_themes_at_every_width(
    browser: Browser, tmp_path: Path, style: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 1000})
    live = LivePage(page, judged(tmp_path), style)
    rows(live).first.click()
    expect(live.root.locator("[data-full] .fields")).to_be_visible()
    tabs, table = tab(live, "all").bounding_box(), rows(live).first.bounding_box()
    assert tabs is not None
    assert table is not None
    assert table["y"] - tabs["y"] < 90  # the tabs stand right above what they filter
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate("() => document.documentElement.scrollHeight") < 1700
    assert page.evaluate(LOW) == []
    page.close()
