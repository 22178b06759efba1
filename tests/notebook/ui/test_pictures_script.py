"""The script of pictures: what a page shows of them, and how one is opened and walked through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from ondine_nb.notebook.ui.templates import module, sheet
from tests.patience import PATIENCE

pytestmark = pytest.mark.browser

JPEG = (
    "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRof"
    "Hh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5PTgyPC4zNDL/wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAACf/E"
    "ABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AVN//2Q=="
)
# A kernel that answers at once: two pictures in a cell, the second of three pages.
PAGE = """<!doctype html><body><style>{style}</style><div id="at"></div><script type="module">
{script}
const url = {url};
const one = {{ url, page: 0, why: "", width: 1, height: 1 }};
const items = [{{ ...one, about: "<img src=x onerror=window.hit=1>", facts: "JPEG", pages: 1 }},
  {{ ...one, about: "two.pdf", facts: "PDF", pages: 3 }}];
window.asked = [];
const kernel = {{ gone: false, ask: async (what, given) => {{
  window.asked.push([what, given]);
  if (what === "pictures") return given.wanted.slice(0, 1).map(() => window.items ?? items);
  const it = items[given.which], page = given.page < 0 ? it.pages - 1 : given.page;
  return {{ ...it, page, which: given.which, of: items.length }};
}} }};
const root = h("section", {{ class: "ondine-ui", tabindex: 0, "data-key": "root" }});
document.querySelector("#at").append(root);
window.said = [];
window.pictures = new Pictures({{ root, kernel, note: (text) => window.said.push(text) }});
window.put = (at) => root.append(pictures.small(at, "photo"));
keys(root, {{ v: () => pictures.open(0, "photo"), j: () => {{ window.moved = true; }} }});
</script></body>"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    shown = browser.new_page()
    shown.set_default_timeout(PATIENCE * 1000)
    script = module("results/results.js").partition("export default view(")[0]
    html = PAGE.format(script=script, style=sheet("results/results.css"), url=repr(JPEG))
    shown.set_content(html)
    shown.wait_for_function("() => Boolean(window.put)")
    yield shown
    shown.close()


def test_small_pictures_come_when_they_are_in_view_and_once(page: Page) -> None:
    page.evaluate("() => { put(0); document.querySelector('section').append(h2()); put(1);"
                  "function h2() { const it = document.createElement('p');"
                  "it.style.height = '4000px'; return it; } }")  # fmt: skip
    expect(page.locator("button.pic")).to_have_count(2)
    wanted = "() => asked.flatMap(([, it]) => it.wanted.map((one) => one.at))"
    assert page.evaluate(wanted) == [0]
    page.locator("[data-pictures]").nth(1).scroll_into_view_if_needed()
    expect(page.locator("button.pic")).to_have_count(4)
    page.evaluate("() => put(0)")  # drawn again: it is known
    expect(page.locator("button.pic")).to_have_count(6)
    assert page.evaluate(wanted) == [0, 1]


def test_a_name_with_markup_is_a_name(page: Page) -> None:
    page.evaluate("() => put(0)")
    button = page.get_by_role("button", name="open <img src=x onerror=window.hit=1>")
    button.click()
    expect(page.locator("dialog b")).to_have_text("<img src=x onerror=window.hit=1>")
    assert page.evaluate("() => window.hit ?? null") is None
    assert page.locator("[src=x]").count() == 0


@pytest.mark.parametrize(
    "url",
    ["", "https://example.com/a.jpg", "data:image/svg+xml;base64,AAAA", "data:text/html,<p>1</p>",
     "javascript:1", " data:image/jpeg;base64,AAAA"],
)  # fmt: skip
def test_nothing_but_a_jpeg_of_the_kernels_becomes_an_image(page: Page, url: str) -> None:
    told = {"url": url, "about": "a.svg", "facts": "", "pages": 1, "why": "is SVG"}
    page.evaluate("(it) => { window.items = [it]; put(0); }", told)
    expect(page.locator(".no-pic")).to_have_text("a.svg")
    assert page.locator("img").count() == 0


def test_opened_by_a_key_walked_through_and_closed_by_escape(page: Page) -> None:
    page.locator("section").focus()
    page.keyboard.press("v")
    dialog, place = page.locator("dialog"), page.locator("dialog [role=status]").first
    expect(place).to_have_text("1 of 2")
    for key, shown in (
        ("ArrowRight", "2 of 2, page 1 of 3"),
        ("ArrowRight", "2 of 2, page 2 of 3"),
        ("End", "2 of 2, page 3 of 3"),
        ("ArrowRight", "2 of 2, page 3 of 3"),
        ("Home", "2 of 2, page 1 of 3"),
        ("ArrowLeft", "1 of 2"),
        ("ArrowLeft", "1 of 2"),
    ):
        page.keyboard.press(key)
        expect(place).to_have_text(shown)
    page.keyboard.press("j")  # none of the view's keys counts in here
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert page.evaluate("() => document.activeElement.dataset.key") == "root"
    assert page.evaluate("() => window.moved ?? null") is None


def test_where_it_was_opened_by_a_click_the_focus_comes_back_to_it(page: Page) -> None:
    page.evaluate("() => put(0)")
    page.locator("button.pic").nth(1).click()
    expect(page.locator("dialog b")).to_have_text("two.pdf")
    page.get_by_role("button", name="close picture").click()
    expect(page.locator("dialog")).to_have_count(0)
    assert page.evaluate("() => document.activeElement.ariaLabel") == "open two.pdf"
