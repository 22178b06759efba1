"""Pictures in JupyterLab: small where rows are in view, in full by a click or a key, never more."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Locator, expect

from tests.notebook.shots import CONTRAST
from tests.server import MessagesServer

from .conftest import Jupyter, Notebook, Opener, Shots

pytestmark = pytest.mark.browser

SMALL = 100  # px of the side of what may be saved
EVIL = "<img src=x onerror=document.title='hit'>.png"
SVG = "<svg xmlns='http://www.w3.org/2000/svg'><script>document.title='hit'</script></svg>"
NAMES = [
    *(f"receipt {at} 🧾.jpg" for at in range(12)),
    "text.png",
    "drawing.png",
    EVIL,
    "three.pdf",
]
PHOTOS = """
photos = pd.DataFrame({{'photo': {paths!r}}})
photos['shop'] = [f'Shop {{at}} & Sons' for at in range(len(photos))]
"""
SCHEMA = "total: float, currency: EUR|GBP, paid: card|cash"
RUN = f"""%%ondine table -i photos --schema '{SCHEMA}' {{more}}
What does this receipt of {{{{shop}}}} say?

{{{{photo:file}}}}"""


Open = Callable[..., Notebook]


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answer) as running:
        yield running


def answer(body: Any) -> str:
    at = int(re.findall(r"Shop (\d+)", json.dumps(body))[-1])
    said = {"currency": ("EUR", "GBP")[at % 2], "paid": ("card", "cash")[at % 3 == 0]}
    return json.dumps({"total": 1.5 * at, **said})


def drawn(at: int, size: tuple[int, int] = (900, 1_400)) -> Image.Image:
    """Something like a receipt, with a head in a colour of its own."""
    made = Image.new("RGB", size, (244, 240, 228))
    pen = ImageDraw.Draw(made)
    pen.rectangle((40, 40, size[0] - 40, 220), fill=(40 + 15 * at, 90, 200 - 15 * at))
    for line in range((size[1] - 400) // 110):
        wide, top = 560 - 40 * (line % 3), 300 + 110 * line
        pen.rectangle((60, top, wide, top + 40), fill=(60, 60, 60))
    return made


@pytest.fixture(scope="module")
def files(jupyter: Jupyter) -> str:
    """The folder of receipts, and of files that aren't what their names say."""
    folder = jupyter.root / "files of test pictures"
    folder.mkdir()
    for at, name in enumerate(NAMES[:12]):
        drawn(at).save(folder / name, quality=85)
    (folder / "text.png").write_text("not a picture at all")
    (folder / "drawing.png").write_text(SVG)
    drawn(3).save(folder / EVIL)
    pages = [drawn(at, (600, 800)) for at in range(3)]
    pages[0].save(folder / "three.pdf", save_all=True, append_images=pages[1:])
    return folder.name


@pytest.fixture
def opened(open_notebook: Opener, server: MessagesServer, files: str) -> Open:
    """A notebook in which the run is over, and cells behind it."""

    def opened(*cells: str, more: str = "") -> Notebook:
        photos = PHOTOS.format(paths=[f"{files}/{name}" for name in NAMES])
        notebook = open_notebook(photos, RUN.format(more=more), *cells, server=server)
        notebook.run(1)
        notebook.run(2)
        return notebook

    return opened


def in_full(notebook: Notebook) -> Locator:
    return notebook.page.locator("dialog.viewer[open]")


def closed(notebook: Notebook) -> None:
    notebook.page.keyboard.press("Escape")
    expect(in_full(notebook)).to_have_count(0)


def sizes(url: str) -> tuple[int, int]:
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data))).size


def test_results_show_them_small_and_open_them_by_click_and_key(opened: Open) -> None:
    notebook = opened("table_run.show()")
    notebook.run(3)
    view = notebook.cell(3).locator(".ondine-results")
    row = view.locator("[data-row='0']")
    small = notebook.seen(row, "button.pic img")
    assert max(sizes(small.get_attribute("src") or "")) <= SMALL
    small.click()
    shown = in_full(notebook).locator(".stage img")
    assert max(sizes(shown.get_attribute("src") or "")) == 1_400
    expect(in_full(notebook)).to_contain_text("receipt 0 🧾.jpg")
    expect(in_full(notebook)).to_contain_text("JPEG · 900 × 1,400 px")
    closed(notebook)
    view.focus()
    notebook.page.keyboard.press("j")
    notebook.page.keyboard.press("v")
    expect(in_full(notebook)).to_contain_text("receipt 0 🧾.jpg")
    closed(notebook)
    notebook.page.keyboard.press("j")  # the keys are the view's again
    notebook.page.keyboard.press("v")
    expect(in_full(notebook)).to_contain_text("receipt 1 🧾.jpg")
    closed(notebook)


def test_the_card_has_thumbnails_that_open_in_full_and_the_file_has_nothing_else(
    opened: Open,
) -> None:
    notebook = opened()
    card = notebook.card(2)
    thumbs = card.locator("img[role=button]")
    expect(thumbs).not_to_have_count(0)
    name = thumbs.first.get_attribute("alt")
    thumbs.first.click()
    expect(in_full(notebook).locator(".bar b")).to_have_text(str(name))
    expect(in_full(notebook).locator(".stage img")).to_be_visible()
    closed(notebook)
    expect(thumbs.first).to_be_focused()
    notebook.page.keyboard.press("Enter")
    expect(in_full(notebook).locator(".bar b")).to_have_text(str(name))
    closed(notebook)
    assert notebook.cell(2).locator(".cm-content").inner_text().startswith("%%ondine")  # unchanged
    saved = json.dumps(notebook.save())
    urls = re.findall(r"data:[^\"'\\ ]+", saved)
    assert urls
    assert all(max(sizes(url)) <= SMALL for url in urls)
    assert all(len(url) < 8_000 for url in urls)


def test_review_and_results_save_small_ones_only_and_none_with_no_thumbs(opened: Open) -> None:
    """What was opened in full is in neither: the page had it by a message."""
    panel = "ondine_nb.panel(photos, 'What? {photo:file}')"
    shown = ["table_run.show()", "table_run.review()", panel]
    notebook = opened("import ondine_nb", *shown)
    for at in (3, 4, 5):
        notebook.run(at)
    view = notebook.cell(4).locator(".ondine-results")
    notebook.seen(view.locator("[data-row='0']"), "button.pic").click()
    expect(in_full(notebook).locator(".stage img")).to_be_visible()
    closed(notebook)
    static = notebook.cell(4).locator(".ondine-results-static")
    expect(static.locator("img")).not_to_have_count(0)
    results = notebook.save()[4]
    urls = re.findall(r"data:[^\"'\\ ]+", json.dumps(results))
    assert 10 < len(urls) <= 20
    assert all(max(sizes(url)) <= SMALL for url in urls)
    assert len(json.dumps(results)) < 120_000

    bare = opened("import ondine_nb", *shown, more="--no-thumbs")
    for at in (3, 4, 5):
        bare.run(at)
    for at, live in ((4, "[data-row='0'] .pics"), (5, ".pics.large")):
        expect(bare.seen(bare.cell(at).locator(live), "img")).to_be_visible()
    expect(bare.cell(4).locator(".ondine-results-static")).to_contain_text("receipt 3")
    saved = json.dumps(bare.save(), ensure_ascii=False)
    assert "data:image" not in saved
    assert "receipt 3 🧾.jpg" in saved


def test_what_is_no_picture_or_has_markup_runs_nothing(opened: Open) -> None:
    notebook = opened("table_run.show()")
    notebook.run(3)
    view = notebook.cell(3).locator(".ondine-results")
    title = notebook.page.title()

    def cell(at: int) -> Locator:
        line = view.locator(f"[data-row='{at}'] [data-pictures=photo]")
        for _ in range(20):
            if line.count():
                break
            view.focus()
            notebook.page.keyboard.press("PageDown")
        return line

    view.locator(".scroll tr[data-row]").first.wait_for()
    evil = cell(NAMES.index(EVIL))
    expect(notebook.seen(evil, "button.pic")).to_have_attribute("aria-label", f"open {EVIL}")
    evil.locator("button.pic").click()
    expect(in_full(notebook).locator(".bar b")).to_have_text(EVIL)
    closed(notebook)
    drawing = cell(NAMES.index("drawing.png"))
    expect(drawing).not_to_contain_text("<svg")
    assert drawing.locator("img").count() == 0
    assert view.locator("[src=x], svg script").count() == 0
    assert notebook.page.title() == title


def test_a_pdf_is_walked_through_page_by_page(opened: Open) -> None:
    notebook = opened("table_run.show()")
    notebook.run(3)
    view = notebook.cell(3).locator(".ondine-results")
    view.locator(".scroll tr[data-row]").first.wait_for()
    view.focus()
    notebook.page.keyboard.press("End")
    notebook.seen(view.locator(f"[data-row='{len(NAMES) - 1}']"), "button.pic").click()
    shown, place = in_full(notebook), in_full(notebook).locator(".bar [role=status]")
    expect(place).to_have_text("page 1 of 3")
    first = shown.locator(".stage img").get_attribute("src")
    notebook.page.keyboard.press("ArrowRight")
    expect(place).to_have_text("page 2 of 3")
    assert shown.locator(".stage img").get_attribute("src") != first
    notebook.page.keyboard.press("End")
    expect(place).to_have_text("page 3 of 3")
    expect(shown.get_by_role("button", name="next picture")).to_be_disabled()
    closed(notebook)


def test_they_fit_in_every_view_light_and_dark_wide_and_narrow(opened: Open, shots: Shots) -> None:
    bench = "bench = ondine_nb.panel(photos, 'What of {shop}? {photo:file}', sample=6)"
    shown = ["table_run.show()", "table_run.review()", bench, "_ = await bench.preview_async()"]
    notebook = opened("import ondine_nb", *shown)
    for at in (3, 4, 5, 6, 7):
        notebook.run(at)
    notebook.page.keyboard.press("Control+B")  # the side bar would take half of a narrow window
    views = {
        "card": notebook.card(2),
        "results": notebook.cell(4).locator(".ondine-results"),
        "review": notebook.cell(5).locator(".ondine-review"),
        "workbench": notebook.cell(6).locator(".ondine-panel"),
    }
    for theme in notebook.themes():
        for width in notebook.widths(1280, 600):
            for name, view in views.items():
                view.scroll_into_view_if_needed()
                notebook.fit(view, width)
                expect(notebook.seen(view, "img")).to_be_visible()
                large = view.locator(".pics.large img")
                if name == "results":
                    if not large.count():
                        view.locator("[data-row='2'] th button").click()
                    notebook.seen(view.locator(".pics.large"), "img")
                    expect(large).to_be_visible()
                fits = view.evaluate("it => it.scrollWidth <= it.clientWidth + 1")
                assert fits, (name, theme, width)
                shots(view, f"pictures-{name}-{theme}-{width}.png")
                assert view.evaluate(CONTRAST) == [], (name, theme, width)
            notebook.seen(views["review"], "button.pic").click()
            expect(in_full(notebook).locator(".stage img")).to_be_visible()
            shots(notebook.page, f"pictures-full-{theme}-{width}.png")
            closed(notebook)
