"""The live results view in Chromium, its Python beside it: what clicks, keys and scrolling do."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from ondine_nb import Run
from ondine_nb.notebook.results.view import ResultsView
from tests.notebook.ended_runs import EVIL, ended_run
from tests.notebook.live_page import LivePage
from tests.notebook.shots import CONTRAST, DARK, LIGHT

pytestmark = pytest.mark.browser

LOW = CONTRAST.replace(".ondine-run *, .ondine-view button", ".ondine-results *")
SCHEMA = "urgency: low|medium|high, refund: bool, confidence: float, topic: str, tags: list[str]"
BODIES = (
    "My card shows two charges of 49 for March. The second one came the day after the first.",
    "After the battery change the keypad takes none of our codes, and it is raining.",
    "Live view spins, then says no connection. It was fully charged before the update.",
)


def tickets(rows: int, folder: Path, failing: float = 0.02) -> Run:
    """A run of 12 columns: two texts, five answers, five others; the seed is fixed."""
    frame = pd.DataFrame(
        {
            "subject": [f"Ticket number {at}" for at in range(rows)],
            "body": [f"{BODIES[at % 3]} ({at})" for at in range(rows)],
            "ticket": [f"T-{at}" for at in range(rows)],
            "product": [("Door Cam", "Hub 2", "Lock")[at % 3] for at in range(rows)],
            "plan": ["pro" if at % 2 else "free" for at in range(rows)],
            "spend": [at * 1.5 for at in range(rows)],
            "day": pd.date_range("2026-01-01", periods=rows, freq="h"),
        }
    )
    run = ended_run(frame, folder, "{subject} {body}", failing=failing, schema=SCHEMA)
    dice = random.Random(3)
    for row in run.plan.rowset.rows:
        if row is not None and row.outputs:
            row.outputs = {
                "urgency": dice.choice(("low", "medium", "high")),
                "refund": dice.random() < 0.3,
                "confidence": round(dice.random(), 3),
                "topic": f"**topic** {dice.randrange(20)}",
                "tags": dice.sample(["billing", "hardware", "angry"], 2),
            }
    return run


def opened(page: Page, view: ResultsView, style: str = LIGHT) -> LivePage:
    view._look()
    return LivePage(page, view, style)


@pytest.fixture
def live(page: Page, tmp_path: Path) -> LivePage:
    return opened(page, ResultsView(tickets(2_000, tmp_path)))


def bar(live: LivePage, facet: str, value: str) -> Locator:
    return live.root.locator(f'[data-facet="{facet}"] [data-value="{value}"]')


def rows(live: LivePage) -> Locator:
    return live.root.locator(".scroll tr[data-row]")


def positions(live: LivePage) -> list[int]:
    found: list[int] = rows(live).evaluate_all("them => them.map(it => Number(it.dataset.row))")
    return found


def cells(live: LivePage, field: str) -> list[str]:
    return rows(live).locator(f'[data-field="{field}"]').all_inner_texts()


def brush(live: LivePage, facet: str, low: float, high: float) -> None:
    plot = live.root.locator(f'[data-facet="{facet}"] .hist')
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    mouse = live.page.mouse
    mouse.move(box["x"] + low * box["width"], y)
    mouse.down()
    mouse.move(box["x"] + high * box["width"], y, steps=5)
    mouse.up()


def frame_of(live: LivePage) -> pd.DataFrame:
    view: Any = live.view
    frame: pd.DataFrame = view.selected
    return frame


def test_answers_stand_behind_the_texts_and_none_is_off_the_screen(live: LivePage) -> None:
    heads = live.root.locator(".scroll thead th").all_inner_texts()
    assert heads == ["row", "subject", "body", "urgency", "refund", "confidence", "topic", "tags"]
    for width in (1300, 900, 640):
        live.page.set_viewport_size({"width": width, "height": 1000})
        box = live.root.locator(".scroll")
        expect(live.root.locator("th.ans").last).to_be_in_viewport()
        assert box.evaluate("it => it.scrollWidth <= it.clientWidth + 1"), width
    expect(live.root.get_by_role("button", name="Columns")).to_contain_text("7 of 17")


def test_a_bar_filters_and_its_own_plot_only_dims(live: LivePage) -> None:
    before = bar(live, "urgency", "low").locator(".n").inner_text()
    bar(live, "urgency", "high").click()
    expect(bar(live, "urgency", "high")).to_have_attribute("aria-pressed", "true")
    expect(live.root.locator(".chip")).to_have_text("urgency = high")
    assert set(cells(live, "urgency")) == {"high"}
    assert bar(live, "urgency", "low").locator(".n").inner_text() == before
    selected = frame_of(live)
    assert set(selected.urgency) == {"high"}
    expect(live.root.locator(".count")).to_have_text(f"{len(selected)} of 2,000 rows")
    bar(live, "urgency", "low").click()
    expect(live.root.locator(".chip")).to_have_text("urgency = low or high")
    live.root.get_by_role("button", name="Clear", exact=True).click()
    expect(live.root.locator(".count")).to_have_text("2,000 rows")


def test_a_brush_filters_and_a_key_moves_its_end(live: LivePage) -> None:
    brush(live, "confidence", 0.02, 0.39)
    expect(live.root.locator(".chip")).to_contain_text("confidence < 0.4")
    assert frame_of(live).confidence.max() < 0.4
    handle = live.root.get_by_role("slider", name="confidence up to")
    handle.focus()
    live.page.keyboard.press("ArrowRight")
    expect(live.root.locator(".chip")).to_contain_text("confidence < 0.45")
    live.page.keyboard.press("ArrowRight")
    expect(live.root.locator(".chip")).to_contain_text("confidence < 0.5")
    expect(live.root.get_by_role("slider", name="confidence up to")).to_be_focused()
    live.root.get_by_role("button", name="remove confidence < 0.5").click()
    expect(live.root.locator(".count")).to_have_text("2,000 rows")


def test_a_header_sorts_up_down_and_not(live: LivePage) -> None:
    head = live.root.locator("th", has_text="confidence")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    shown = [float(text) for text in cells(live, "confidence")]
    assert shown == sorted(shown)
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    assert float(cells(live, "confidence")[0]) == frame_of(live).confidence.max()
    head.get_by_role("button").click()
    expect(head).not_to_have_attribute("aria-sort", "descending")
    assert frame_of(live).index.is_monotonic_increasing


def test_a_row_opens_beside_the_table_and_keys_go_through_rows(live: LivePage) -> None:
    table = live.root.locator(".scroll")
    live.root.get_by_role("button", name="Columns").click()
    live.root.get_by_role("button", name="all", exact=True).click()
    expect(live.root.locator("th", has_text="attempts")).to_have_count(1)
    table.evaluate("it => { it.scrollLeft = 300; }")
    aside = table.evaluate("it => it.scrollLeft")
    assert aside > 100
    rows(live).nth(2).locator("td").nth(3).click()
    region = live.root.get_by_role("region")
    expect(region).to_have_attribute("aria-label", "row 2")
    assert table.evaluate("it => it.scrollLeft") == aside
    expect(live.root).to_be_focused()
    for _ in range(5):
        live.page.keyboard.press("j")
    expect(region).to_have_attribute("aria-label", "row 7")
    live.page.keyboard.press("k")
    expect(region).to_have_attribute("aria-label", "row 6")
    expect(region).to_contain_text("7 of 1,966")
    first = region.locator(".pane-body > *").nth(1)
    expect(first).to_have_text("Ticket number 6")
    live.page.keyboard.press("Escape")  # the columns first, as they came last
    live.page.keyboard.press("Escape")
    expect(region).to_be_hidden()
    expect(live.root).to_be_focused()
    live.page.keyboard.press("Enter")
    expect(region).to_have_attribute("aria-label", "row 6")


def test_in_a_narrow_place_a_row_opens_under_its_row(live: LivePage) -> None:
    live.page.set_viewport_size({"width": 632, "height": 1000})
    expect(live.root).to_have_attribute("data-mode", "narrow")
    expect(live.root.locator(".scroll thead")).to_contain_text("subject · body")
    rows(live).nth(3).locator("td").first.click()
    within = live.root.locator("tr.in-place")
    expect(within).to_contain_text("Ticket number 3")
    after = within.evaluate("it => it.previousElementSibling.dataset.row")
    assert after == "3"
    box = within.bounding_box()
    assert box is not None
    assert box["width"] <= 640
    live.page.keyboard.press("j")
    expect(within.locator(".pane-body")).to_contain_text("Ticket number 4")
    assert within.evaluate("it => it.previousElementSibling.dataset.row") == "4"


def test_tabs_show_prompt_raw_and_attempts(live: LivePage) -> None:
    rows(live).first.get_by_role("button").first.click()
    region = live.root.get_by_role("region")
    expect(region.get_by_role("tab", name="Text")).to_have_attribute("aria-selected", "true")
    assert "{" not in region.locator(".pane-body").inner_text()
    region.get_by_role("tab", name="Prompt").click()
    expect(region.locator("pre.raw")).to_contain_text("Ticket number 0 My card shows")
    region.get_by_role("tab", name="Prompt").press("ArrowRight")
    expect(region.get_by_role("tab", name="Raw")).to_be_focused()
    expect(region.locator(".pane-body")).to_contain_text("the journal has no answer")


def region(live: LivePage) -> Locator:
    return live.root.get_by_role("region")


def said(live: LivePage, field: str) -> Locator:
    return region(live).locator(f'li[data-field="{field}"] .judged')


def other(run: Run, at: int) -> tuple[str, str]:
    """The key of a choice that the model didn't make, and its word."""
    held = run.frame["urgency"].iloc[at]
    return ("2", "medium") if held == "low" else ("1", "low")


def test_a_value_is_corrected_by_keyboard_and_is_a_label_before_it_shows(
    page: Page, tmp_path: Path
) -> None:
    run = tickets(40, tmp_path, failing=0)
    live = opened(page, ResultsView(run, reviewer="ana"))
    key, word = other(run, 3)
    before = run.frame["urgency"].iloc[3]
    live.root.focus()
    for each in ("j", "j", "j", "j", "Enter", "e"):
        page.keyboard.press(each)
    expect(region(live).get_by_role("radiogroup", name="urgency")).to_be_visible()
    expect(region(live).locator('[role="radio"]:focus')).to_have_attribute("data-value", before)
    page.keyboard.press(key)
    expect(said(live, "urgency")).to_have_text(f"corrected · was {before} · anaundo")
    expect(region(live).locator('li[data-field="urgency"] .tag')).to_have_text(word)
    expect(live.root).to_be_focused()
    shown = rows(live).nth(3).locator('[data-field="urgency"]')
    expect(shown.locator(".tag")).to_have_text(f"corrected: {word}")  # the first is only heard
    assert list(run.labels[["urgency", "reviewer"]].iloc[0]) == [word, "ana"]
    assert list(run.corrected.loc[3, ["urgency", "urgency_source"]]) == [word, "ana"]
    assert run.score("urgency").accuracy == 0
    assert frame_of(live)["urgency"].iloc[3] == word
    for each in ("e", "e", "Enter"):  # the second field, as it is
        page.keyboard.press(each)
    expect(said(live, "refund")).to_have_text("right · anaundo")
    assert run.score("refund").accuracy == 1
    page.keyboard.press("j")
    expect(region(live)).to_have_attribute("aria-label", "row 4")
    expect(said(live, "urgency")).to_have_count(0)


def test_a_text_and_a_list_are_typed_and_what_is_wrong_is_said_where_it_was_typed(
    page: Page, tmp_path: Path
) -> None:
    run = tickets(40, tmp_path, failing=0)
    frame = run.pipeline.frame
    run.plan.rowset.rows[0].outputs["topic"] = "<i>old</i>"
    live = opened(page, ResultsView(run))
    rows(live).first.get_by_role("button").first.click()
    region(live).get_by_role("button", name="edit topic").click()
    control = region(live).get_by_role("textbox", name="topic")
    expect(control).to_be_focused()
    control.fill("<b>jk</b> e 12 مرحبا 🎉")
    page.keyboard.press("Escape")
    expect(region(live).get_by_role("button", name="edit topic")).to_be_focused()
    assert len(run.labels) == 0
    page.keyboard.press("Enter")
    control.fill("<b>jk</b> e 12 مرحبا 🎉")
    page.keyboard.press("Enter")
    expect(said(live, "topic")).to_contain_text("was <i>old</i>")
    assert run.labels["topic"].tolist() == ["<b>jk</b> e 12 مرحبا 🎉"]
    region(live).get_by_role("button", name="edit tags").click()
    control = region(live).get_by_role("textbox", name="tags")
    control.fill("new")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("old")
    page.keyboard.press("Enter")
    expect(region(live).locator('li[data-field="tags"] li')).to_have_text(["new", "old"])
    assert run.corrected["tags"].iloc[0] == ["new", "old"]
    region(live).get_by_role("button", name="undo tags").click()
    expect(said(live, "tags")).to_have_count(0)
    assert list(run.corrected["tags"].iloc[0]) == list(run.frame["tags"].iloc[0])
    assert run.pipeline.frame is frame


def test_a_correction_keeps_the_rows_in_view_until_something_else_is_asked(
    live: LivePage,
) -> None:
    bar(live, "urgency", "high").click()
    expect(live.root.locator(".chip")).to_have_text("urgency = high")
    before = positions(live)
    rows(live).nth(1).locator('[data-field="urgency"]').click()
    live.page.keyboard.press("e")
    live.page.keyboard.press("1")
    expect(said(live, "urgency")).to_contain_text("corrected · was high")
    assert positions(live) == before
    live.page.keyboard.press("j")
    expect(region(live)).to_have_attribute("aria-label", f"row {before[2]}")
    live.page.keyboard.press("Escape")
    live.root.get_by_role("button", name="Clear", exact=True).click()
    expect(live.root.locator(".count")).to_have_text("2,000 rows")
    bar(live, "urgency", "high").click()
    expect(rows(live).nth(1)).to_have_attribute("data-row", str(before[2]))
    live.root.get_by_role("button", name="Clear", exact=True).click()
    live.root.get_by_role("button", name="Columns").click()
    live.root.get_by_label("plot review").check()
    bar(live, "review", "corrected").click()
    expect(live.root.locator(".count")).to_have_text("1 of 2,000 rows")
    expect(rows(live).first).to_have_attribute("data-row", str(before[1]))


def test_a_failed_row_is_filled_in_and_what_a_review_said_is_seen(
    page: Page, tmp_path: Path
) -> None:
    run = tickets(240, tmp_path, failing=0.1)
    view = ResultsView(run)
    live = opened(page, view)
    failed = live.root.locator(".failed")
    at = view.results.failed[0]
    failed.locator("tr").first.get_by_role("button").click()
    page.keyboard.press("e")
    page.keyboard.press("3")
    expect(said(live, "urgency")).to_contain_text("filled in")
    expect(failed.locator("tr").first).to_contain_text("filled in")
    source = run.corrected[["urgency", "urgency_source"]].iloc[at]
    assert list(source) == ["high", "reviewer"]
    from ondine_nb.notebook.results import Review

    review = Review(run, reviewer="bo")
    review.accept(0, {"urgency": 0, "refund": 1})
    live.root.get_by_role("button", name="Columns").click()  # whatever asks the kernel anew
    live.root.get_by_label("plot product").check()
    shown = rows(live).first.locator('[data-field="urgency"]')
    expect(shown.locator(".tag")).to_have_text(re.compile("(right|corrected): low"))
    assert frame_of(live)["urgency"].iloc[0] == "low"


def test_the_rows_in_view_are_written_to_files_and_named_for_the_next_cell(
    live: LivePage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bar(live, "urgency", "high").click()
    expect(live.root.locator(".chip")).to_have_text("urgency = high")
    rows(live).nth(1).locator('[data-field="urgency"]').click()
    live.page.keyboard.press("e")
    live.page.keyboard.press("1")
    expect(said(live, "urgency")).to_contain_text("corrected")
    shown = frame_of(live)
    line = live.root.locator(".state-line")
    live.root.get_by_role("button", name="export these rows as CSV").click()
    expect(line).to_contain_text(f"{len(shown)} rows written to labeled.csv in {tmp_path}")
    found = pd.read_csv(tmp_path / "labeled.csv", dtype={"ticket": str})
    assert found["ticket"].tolist() == shown["ticket"].tolist()
    assert found["urgency"].tolist() == list(shown["urgency"])
    assert found["urgency"].value_counts()["low"] == 1  # as it was corrected
    live.root.get_by_role("button", name="export these rows as Parquet").click()
    expect(line).to_contain_text("rows written to labeled.parquet")
    read = pd.read_parquet(tmp_path / "labeled.parquet")
    assert read["ticket"].tolist() == shown["ticket"].tolist()
    assert [list(it) for it in read["tags"]] == [list(it) for it in shown["tags"]]
    live.page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {configurable: true,"
        " value: {writeText: async text => { window.copied = text; }}})"
    )
    live.root.get_by_role("button", name="as frame").click()
    expect(line).to_contain_text(f"view.selected holds these {len(shown)} rows")
    live.page.wait_for_function("window.copied === 'view.selected'")


def test_a_dead_kernel_keeps_nothing_and_the_editor_stays(live: LivePage) -> None:
    rows(live).first.get_by_role("button").first.click()
    expect(region(live)).to_be_visible()
    live.page.keyboard.press("e")
    live.page.evaluate("window.dieKernel()")
    live.page.keyboard.press("1")
    expect(live.root.locator(".state-line")).to_contain_text("this was not kept")
    expect(region(live).get_by_role("radiogroup")).to_be_visible()
    expect(said(live, "urgency")).to_have_count(0)


def test_a_search_marks_its_hits_and_goes_through_them(live: LivePage) -> None:
    live.root.focus()
    live.page.keyboard.press("/")
    find = live.root.get_by_label("find", exact=True)
    expect(find).to_be_focused()
    live.page.keyboard.type("KEYPAD")
    expect(live.root.locator(".find")).to_contain_text("1 of ")
    expect(live.root.locator(".scroll mark").first).to_have_text("keypad")
    live.page.keyboard.press("Enter")
    expect(live.root.locator(".find")).to_contain_text("2 of ")
    expect(live.root.locator("tr.on mark")).to_have_text("keypad")
    live.root.get_by_role("button", name="only these").click()
    expect(live.root.locator(".chip")).to_have_text("has “KEYPAD”")
    assert frame_of(live).body.str.contains("keypad").all()
    live.root.get_by_label("find", exact=True).fill("nothing like it")
    expect(live.root.locator(".find")).to_contain_text("no hit")


def test_lists_and_markdown_are_shown_as_such(live: LivePage) -> None:
    expect(rows(live).first.locator('[data-field="tags"] li')).to_have_count(2)
    expect(rows(live).first.locator('[data-field="topic"] strong')).to_have_text("topic")
    assert "**" not in rows(live).first.inner_text()
    assert rows(live).first.locator('[data-field="confidence"]').evaluate(
        "it => getComputedStyle(it).textAlign"
    ) in ("end", "right")


def test_failed_rows_stay_below_with_their_reason_and_can_be_hidden(live: LivePage) -> None:
    failed = live.root.locator(".failed")
    expect(failed).to_contain_text(" failed rows")
    bar(live, "urgency", "high").click()
    expect(failed).to_contain_text("failed rows, kept in view")
    expect(failed.locator("tr[data-row]").first).to_contain_text(":")
    failed.get_by_role("button", name="refusal").click()
    expect(failed.locator("tr .why b").first).to_have_text("refusal")
    assert set(failed.locator("tr .why b").all_inner_texts()) == {"refusal"}
    failed.locator("tr").first.get_by_role("button").click()
    expect(live.root.get_by_role("region")).to_contain_text("refusal: the model refused")
    failed.get_by_role("button", name="hide failed rows").click()
    expect(failed.locator("tr")).to_have_count(0)


def test_columns_are_chosen_and_any_column_can_be_plotted(live: LivePage) -> None:
    live.root.get_by_role("button", name="Columns").click()
    live.root.get_by_label("show product").check()
    expect(live.root.locator("th", has_text="product")).to_have_count(1)
    live.root.get_by_label("show body").uncheck()
    expect(live.root.locator("th", has_text="body")).to_have_count(0)
    live.root.get_by_label("plot product").check()
    bar(live, "product", "Lock").click()
    expect(live.root.locator(".chip")).to_have_text("product = Lock")
    assert set(frame_of(live)["product"]) == {"Lock"}


def test_a_long_text_is_clamped_and_expands_in_its_row(page: Page, tmp_path: Path) -> None:
    run = tickets(60, tmp_path, failing=0)
    run.pipeline.frame._held.loc[4, "body"] = "word " * 400 + "the end"
    live = opened(page, ResultsView(run))
    row = rows(live).nth(4)
    assert row.evaluate("it => it.offsetHeight") == 45
    row.hover()
    row.get_by_role("button", name="more of row 4").click()
    expect(row).to_contain_text("the end")
    assert row.evaluate("it => it.offsetHeight") > 100
    row.get_by_role("button", name="less of row 4").click()
    expect(rows(live).nth(4)).not_to_contain_text("the end")


def test_keys_stay_in_the_view(live: LivePage) -> None:
    live.page.evaluate(
        "() => { window.through = []; addEventListener('keydown', it => through.push(it.key)); }"
    )
    assert live.root.get_attribute("data-lm-suppress-shortcuts") == "true"
    live.root.focus()
    for key in ("j", "k", "a", "x", "ArrowDown", "Shift+Enter", "Enter", "Escape"):
        live.page.keyboard.press(key)
    assert live.page.evaluate("window.through") == []
    live.page.evaluate(
        "document.addEventListener('keydown', it => { window.own ="
        " document.querySelector('.ondine-ui').dataset.lmSuppressShortcuts ?? 'free'; }, true)"
    )
    for key, own in (("Control+Enter", "true"), ("Control+s", "free"), ("Shift+Enter", "true")):
        live.page.keyboard.press(key)
        assert live.page.evaluate("window.own") == own


def test_a_dead_kernel_is_one_line_and_what_was_loaded_stays(live: LivePage) -> None:
    live.page.evaluate("window.dieKernel()")
    line = live.root.locator(".state-line")
    expect(line).to_contain_text("The kernel is gone")
    bar(live, "urgency", "high").click()
    expect(rows(live)).not_to_have_count(0)
    expect(line).to_have_count(1)
    expect(line).to_contain_text("Run the cell again")


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_any_frame_is_shown_filtered_and_taken_along(page: Page, kind: str) -> None:
    import polars as pl

    frame: Any = pd.DataFrame({"city": ["Rome", "Oslo"] * 20, "n": range(40)})
    frame = pl.from_pandas(frame) if kind == "polars" else frame.set_index(frame.n * 10)
    live = opened(page, ResultsView(frame=frame, name="mine"))
    expect(live.root.get_by_role("button", name="Review")).to_have_count(0)
    bar(live, "city", "Oslo").click()
    expect(live.root.locator(".chip")).to_have_text("city = Oslo")
    view: Any = live.view
    selected = view.selected
    assert type(selected) is type(frame)
    assert list(selected["n"]) == list(range(1, 40, 2))
    if kind == "pandas":
        assert list(selected.index) == list(range(10, 400, 20))
        assert rows(live).first.locator("th").inner_text() == "10"


def test_a_million_rows_are_scrolled_to_the_last(page: Page) -> None:
    frame = pd.DataFrame({"n": range(1_000_000)})
    view = ResultsView(frame=frame, name="many")
    view._names, view._plots = ["n"], []
    live = opened(page, view)
    box = live.root.locator(".scroll")
    assert box.evaluate("it => it.scrollHeight") < 9_000_000
    box.evaluate("it => { it.scrollTop = it.scrollHeight; }")
    expect(rows(live).last).to_have_attribute("data-row", "999999")
    box.evaluate("it => { it.scrollTop = it.scrollHeight / 2; }")
    first = "Number(document.querySelector('.scroll tr[data-row]')?.dataset.row)"
    page.wait_for_function(f"() => {first} > 400_000 && {first} < 600_000")
    middle = positions(live)[0]
    box.hover()
    live.page.mouse.wheel(0, 90)
    expect(rows(live).first).to_have_attribute("data-row", str(middle + 2))
    live.root.focus()
    live.page.keyboard.press("End")
    expect(live.root.locator("tr.on")).to_have_attribute("data-row", "999999")
    live.page.keyboard.press("k")
    expect(live.root.locator("tr.on")).to_have_attribute("data-row", "999998")
    assert max(live.sent) < 200_000


def test_markup_in_texts_runs_nothing(page: Page, tmp_path: Path) -> None:
    data = pd.DataFrame({"text": pd.Series(list(EVIL), dtype=object), EVIL[1]: 1})
    run = ended_run(data, tmp_path, prompt="Tell {text}", schema="", column=EVIL[0], failing=0)
    run.name = EVIL[1]
    for at, row in enumerate(run.plan.rowset.rows):
        assert row is not None
        row.outputs = {EVIL[0]: EVIL[at]}
    live = opened(page, ResultsView(run))
    live.root.get_by_role("button", name="Columns").click()
    live.root.get_by_label("find", exact=True).fill("<script>")
    expect(live.root.locator(".scroll mark").first).to_have_text("<script>")
    for at in range(len(EVIL)):
        live.root.get_by_role("button", name=f"open row {at}", exact=True).click()
        expect(live.root.get_by_role("region")).to_have_attribute("aria-label", f"row {at}")
        for tab in ("Prompt", "Raw", "Text"):
            live.root.get_by_role("tab", name=tab).click()
    assert live.root.locator("script, img, a, iframe").count() == 0
    assert page.evaluate("window.hurt ?? 0") == 0


@pytest.mark.parametrize("theme", [LIGHT, DARK.replace("#111;", "#212121;"), ""])
def test_it_fits_and_reads_at_every_width(page: Page, tmp_path: Path, theme: str) -> None:
    live = opened(page, ResultsView(tickets(240, tmp_path)), theme)
    bar(live, "urgency", "high").click()
    live.root.get_by_label("find", exact=True).fill("card")
    expect(live.root.locator(".find")).to_contain_text("1 of ")
    live.root.get_by_role("button", name="Columns").click()
    rows(live).nth(1).get_by_role("button").first.click()
    expect(live.root.get_by_role("region")).to_be_visible()
    for width in (1280, 800, 600):
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_function(
            "w => document.querySelector('.ondine-ui').clientWidth < w", arg=width
        )
        assert live.root.evaluate("it => it.scrollWidth <= it.clientWidth + 1"), width
        plots = live.root.locator(".facet").evaluate_all(
            "them => them.map(it => { const b = it.getBoundingClientRect();"
            " return [b.left, b.top, b.right, b.bottom]; })"
        )
        for at, one in enumerate(plots):
            for other in plots[at + 1 :]:
                aside = one[2] <= other[0] + 1 or other[2] <= one[0] + 1
                assert aside or one[3] <= other[1] + 1 or other[3] <= one[1] + 1, width
        assert page.evaluate(LOW) == []
