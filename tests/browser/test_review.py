"""The review in JupyterLab as a person uses it: by keyboard, over a reload and a dead kernel."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.notebook.shots import CONTRAST
from tests.patience import PATIENCE
from tests.server import MessagesServer
from tests.server.answers import prompt_of

from .conftest import Jupyter, Notebook, Opener, Shots

pytestmark = pytest.mark.browser

ROWS, BY_HAND = 40, 30
SCHEMA = "mood: good|bad|mixed, refund: bool, topic: str, confidence: float"
RUN = f"%%ondine moods --schema '{SCHEMA}' -i frame({ROWS},'{{}}')\nTell {{{{text}}}}"
REVIEW = "moods_run.review(reviewer='ana')"
SCORE = "s = moods_run.score('mood'); print(s.n, round(s.accuracy, 4), len(moods_run.labels))"


def answer(body: Any) -> str:
    at = int(prompt_of(body).split()[-1])
    said = {"mood": ("good", "bad", "mixed")[at % 3], "refund": at % 2 == 0}
    return json.dumps({**said, "topic": f"topic {at}", "confidence": (at * 7 % ROWS) / ROWS})


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answer) as running:
        yield running


def review_of(notebook: Notebook, at: int = 2) -> Locator:
    view = notebook.cell(at).locator(".ondine-review")
    view.locator("[data-row]").first.wait_for()
    return view


def row_of(view: Locator) -> str:
    return str(view.locator(".judge").get_attribute("data-row"))


def press(view: Locator, key: str) -> None:
    """A key, and what it does to the row that shows."""
    before = row_of(view)
    view.page.keyboard.press(key)
    expect(view.locator(f".judge[data-row='{before}']")).to_have_count(0)


def restart(notebook: Notebook, jupyter: Jupyter) -> None:
    """The kernel, as a person does it by the menu."""
    notebook.page.evaluate("() => { window.jupyterapp.commands.execute('kernelmenu:restart'); }")
    notebook.page.locator(".jp-Dialog .jp-mod-warn").click()
    jupyter.wait_for_kernel(notebook.path.name)


def reviewed(view: Locator, rows: int) -> None:
    expect(view.get_by_role("progressbar")).to_have_attribute("aria-valuenow", str(rows))


def test_thirty_rows_by_keyboard_last_over_a_reload_a_restart_and_a_run_again(
    open_notebook: Opener, jupyter: Jupyter, server: MessagesServer
) -> None:
    notebook = open_notebook(RUN.format("kept"), REVIEW, SCORE, server=server)
    notebook.run(1)
    notebook.run(2)
    view = review_of(notebook)
    view.focus()
    corrected = 0
    for row in range(BY_HAND):  # at most two keys a row
        if row % 3 == 0:
            held = view.locator("[data-field=mood] [aria-checked=true]").get_attribute("data-value")
            other = "2" if held == "good" else "1"
            notebook.page.keyboard.press(other)
            corrected += 1
        press(view, "Enter")
    reviewed(view, BY_HAND)
    assert len(notebook.page.locator(".jp-CodeCell").all()) == 4
    said = f"{BY_HAND} {round(1 - corrected / BY_HAND, 4)} {BY_HAND}"
    assert said in notebook.run(3)
    sent = server.arrived

    notebook.save()
    notebook.reload(2, ".ondine-review")
    again = review_of(notebook)
    reviewed(again, BY_HAND)
    assert said in notebook.run(3)

    restart(notebook, jupyter)
    for at in (0, 1, 2):
        notebook.run(at)
    after = review_of(notebook)
    reviewed(after, BY_HAND)
    expect(after.get_by_role("tab", name="least sure first")).to_have_attribute(
        "aria-selected", "true"
    )
    assert said in notebook.run(3)
    server.wait_idle()
    assert server.arrived == sent


def test_no_key_of_the_review_reaches_the_notebook(
    open_notebook: Opener, server: MessagesServer
) -> None:
    notebook = open_notebook(RUN.format("keys"), REVIEW, "1 + 1", server=server)
    notebook.run(1)
    notebook.run(2)
    view = review_of(notebook)
    view.focus()
    first = row_of(view)
    for key in ("a", "x", "b", "ArrowDown", "ArrowUp", "Shift+Enter", "d", "d", "m", "0"):
        notebook.page.keyboard.press(key)
    for key in ("j", "j", "k"):
        press(view, key)
    assert row_of(view) != first
    press(view, "k")
    assert row_of(view) == first
    notebook.page.keyboard.press("/")
    notebook.page.keyboard.type("jks u 12 <b>a</b>")
    assert view.get_by_label("note").input_value() == "jks u 12 <b>a</b>"
    notebook.page.keyboard.press("Escape")
    expect(view).to_be_focused()
    assert notebook.page.locator(".jp-CodeCell").count() == 4
    assert notebook.cell(3).locator(".cm-content").inner_text() == "1 + 1"
    reviewed(view, 0)


def test_a_text_is_typed_undone_and_skipped_and_what_is_wrong_is_said(
    open_notebook: Opener, server: MessagesServer
) -> None:
    schema = "mood: good|bad|mixed, refund: bool, topic: str, count: int?, confidence: float"
    asks = RUN.format("typed").replace(SCHEMA, schema)
    notebook = open_notebook(asks, REVIEW, "print(moods_run.labels)", server=server)
    notebook.run(1)
    notebook.run(2)
    view = review_of(notebook)
    view.focus()
    keyboard = notebook.page.keyboard
    first = row_of(view)
    for _ in range(3):
        keyboard.press("Tab")  # from mood by refund and topic to count
    expect(view.get_by_label("count")).to_be_focused()
    keyboard.type("many")
    keyboard.press("Enter")
    expect(view.get_by_role("alert")).to_contain_text("'many' is no whole number")
    assert row_of(view) == first
    keyboard.press("Control+A")
    keyboard.type("3")
    press(view, "Enter")
    reviewed(view, 1)
    expect(view).to_be_focused()
    press(view, "s")
    press(view, "u")
    assert row_of(view) == first
    reviewed(view, 0)


def test_markup_in_texts_labels_and_notes_runs_nothing(
    open_notebook: Opener, server: MessagesServer
) -> None:
    evil = '<img src=x onerror="document.title=String.fromCharCode(104,117,114,116)"> '
    asks = RUN.format(evil.replace("'", ""))
    notebook = open_notebook(asks, REVIEW, server=server)
    notebook.run(1)
    notebook.run(2)
    view = review_of(notebook)
    view.focus()
    notebook.page.keyboard.press("/")
    notebook.page.keyboard.type(evil)
    press(view, "Enter")
    press(view, "k")
    for tab in ("Prompt", "Answer", "Text"):
        view.get_by_role("tab", name=tab, exact=True).click()
    expect(view.locator(".pane")).to_contain_text("<img src=x")
    assert view.locator("img").count() == 0
    assert "hurt" not in notebook.page.title()


# What the front end draws before each widget whose kernel is gone: its broken link, or nothing.
DRAWN = """() => [...document.querySelectorAll('.jupyter-widgets-disconnected')]
  .filter(it => it.checkVisibility()).map(it => getComputedStyle(it, '::before').content)"""


def test_a_kernel_that_is_gone_is_said_in_a_line_without_a_broken_link_and_nothing_is_pretended(
    open_notebook: Opener, jupyter: Jupyter, server: MessagesServer
) -> None:
    notebook = open_notebook(RUN.format("gone"), REVIEW, server=server)
    notebook.run(1)
    notebook.run(2)
    view = review_of(notebook)
    view.focus()
    restart(notebook, jupyter)
    view.focus()
    notebook.page.keyboard.press("Enter")
    expect(view.get_by_role("status").last).to_contain_text("kernel is gone")
    assert set(notebook.page.evaluate(DRAWN)) <= {"none"}
    reviewed(view, 0)


def test_it_fits_narrow_and_wide_in_both_themes(
    open_notebook: Opener, server: MessagesServer, shots: Shots
) -> None:
    word = "A customer of ours writes at some length, that the siren went off at 03:10 and "
    notebook = open_notebook(RUN.format(word), REVIEW, server=server)
    notebook.run(1)
    notebook.run(2)
    view = review_of(notebook)
    notebook.page.keyboard.press("Control+B")
    view.focus()
    for at in range(9):
        if at % 4 == 1:
            notebook.page.keyboard.press("3")
        press(view, "Enter")
    for theme in notebook.themes():
        for width in notebook.widths(1280, 800, 600):
            notebook.fit(view, width)
            assert view.evaluate("it => it.scrollWidth <= it.clientWidth + 1"), (theme, width)
            shots(view, f"review-{theme}-{width}.png")
        assert notebook.page.evaluate(CONTRAST) == [], theme


def review_by_keys(view: Locator) -> None:
    """Five rows: one corrected, one accepted, one with a note, one taken back, one skipped."""
    keyboard = view.page.keyboard
    view.focus()
    first = row_of(view)
    held = view.locator("[data-field=mood] [aria-checked=true]").get_attribute("data-value")
    keyboard.press("1" if held != "good" else "2")
    press(view, "Enter")
    press(view, "Enter")
    keyboard.press("/")
    keyboard.type("j k 1 x a")
    assert view.get_by_label("note").input_value() == "j k 1 x a"
    press(view, "Enter")
    reviewed(view, 3)
    expect(view.locator(".strip li").last).to_have_attribute("data-row", first)
    expect(view.locator(".strip li").last).to_contain_text("corrected")
    taken_back = row_of(view)
    press(view, "Enter")
    reviewed(view, 4)
    press(view, "u")
    reviewed(view, 3)
    assert row_of(view) == taken_back
    press(view, "s")
    keyboard.press("Tab")
    expect(view.locator("[data-field=refund]")).to_have_class(re.compile(r"\bon\b"))
    keyboard.press("1")
    expect(view.locator("[data-field=refund] [data-value=true]")).to_have_attribute(
        "aria-checked", "true"
    )
    press(view, "Enter")
    reviewed(view, 4)


def test_in_notebook_7_rows_are_reviewed_by_keys_that_stay_in_the_view(
    open_notebook: Opener, server: MessagesServer
) -> None:
    # A set of labels of its own: the notebooks of these tests share a folder.
    said = "print(len(seven_run.labels), seven_run.labels.note.tolist())"
    asks, review = (it.replace("moods", "seven") for it in (RUN, REVIEW))
    notebook = open_notebook(asks.format("seven"), review, said, server=server, where="notebooks")
    notebook.run(1)
    notebook.run(2)
    view = review_of(notebook)
    cells = notebook.page.locator(".jp-CodeCell").count()
    review_by_keys(view)
    for key in ("a", "b", "x", "ArrowDown", "ArrowUp", "Shift+Enter", "d", "d", "m"):
        notebook.page.keyboard.press(key)
    assert notebook.page.locator(".jp-CodeCell").count() == cells
    expect(view).to_be_visible()
    assert notebook.run(3).strip() == "4 ['', '', 'j k 1 x a', '']"
    expect(notebook.cell(2).locator(".ondine-review-static")).to_be_hidden()


MARIMO = f"""import marimo
app = marimo.App()

@app.cell
async def _():
    import pandas as pd
    from ondine_nb import Pipeline
    frame = pd.DataFrame({{"text": [f"marimo {{at}}" for at in range({ROWS})]}})
    asks = Pipeline(frame, "Tell {{text}}", schema="{SCHEMA}", base_url="SERVER", name="moods")
    run = asks.start()
    await run
    return run,

@app.cell
def _(run):
    view = run.review(reviewer="ana")
    view
    return view,

@app.cell
def _(run):
    results = run.show()
    results
    return results,

if __name__ == "__main__":
    app.run()
"""


def test_in_marimo_rows_are_reviewed_and_corrected_and_the_labels_lie_on_disk(
    in_marimo: Callable[[str], str],
    browser: BrowserContext,
    server: MessagesServer,
    tmp_path: Path,
) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": 1300, "height": 1400})
    page.goto(in_marimo(MARIMO.replace("SERVER", server.url)))
    view = page.locator(".ondine-review")
    view.locator("[data-row]").first.wait_for(timeout=PATIENCE * 1000)
    review_by_keys(view)
    results = page.locator(".ondine-results")
    expect(results.get_by_role("button", name="Review")).to_have_count(0)  # a cell's own there
    row = results.locator(".scroll tr[data-row]").nth(2)
    row.locator('[data-field="mood"]').click()
    page.keyboard.press("e")
    expect(results.get_by_role("radiogroup", name="mood")).to_be_visible()
    page.keyboard.press("3")
    expect(results.locator("[data-said] .sign")).to_have_count(1)
    page.close()
    files = list(tmp_path.rglob("labels/moods/*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len([it for it in lines if "undoes" not in it]) == 6
    assert lines[-1]["fields"] == {"mood": "mixed"}
    assert lines[-1]["reviewer"] == "reviewer"
