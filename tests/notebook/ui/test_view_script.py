"""The script that live views share: texts are text, marks lie where they belong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser

from ondine_nb.notebook.ui.templates import _read

pytestmark = pytest.mark.browser
Script = Callable[[str], Any]


@pytest.fixture(scope="module")
def script(browser: Browser) -> Script:
    """Runs JavaScript behind the shared script, on an empty page."""
    page = browser.new_page()
    shared = _read("ui/view.js")
    return lambda body: page.evaluate(f"() => {{ {shared}\n{body} }}")


def html(script: Script, function: str, text: str, spans: Any = ()) -> str:
    given = f"{json.dumps(text)}, {json.dumps(list(spans))}"
    return str(script(f"return h('div', {{}}, {function}({given})).innerHTML;"))


def test_marks_overlap_and_lose_no_character(script: Script) -> None:
    spans = [
        {"start": 0, "end": 7, "kind": "ev ev1", "label": "mood"},
        {"start": 4, "end": 9, "kind": "hit"},
    ]
    assert html(script, "marked", "one two three", spans) == (
        '<span class="ev ev1">one </span><mark class="hit"><span class="ev ev1">two<sup>mood</sup>'
        '</span></mark><mark class="hit"> t</mark>hree'
    )


def test_a_search_finds_every_case_and_overlaps_nothing(script: Script) -> None:
    found = script(
        "return hits('Charge, charge and CHARGE', 'charge').map(it => [it.start, it.end]);"
    )
    assert found == [[0, 6], [8, 14], [19, 25]]
    assert script("return hits('aaaa', 'aa').length;") == 2
    assert script("return hits('text', '').length;") == 0
    assert script("return hits('\u0130stanbul is', 'is').map(it => it.start);") == [9]


def test_markdown_becomes_lists_headings_code_and_bold(script: Script) -> None:
    text = "# Head\n\nA **bold** and *soft* `x < y`.\n- one\n- two\n\n1. first\n2. second\n"
    text += "```\n<b>\n```"
    assert html(script, "markdown", text) == (
        '<p class="heading" role="heading" aria-level="3">Head</p>'
        "<p>A <strong>bold</strong> and <em>soft</em> <code>x &lt; y</code>.</p>"
        "<ul><li>one</li><li>two</li></ul>"
        '<ol start="1"><li>first</li><li>second</li></ol>'
        "<pre><code>&lt;b&gt;</code></pre>"
    )


def test_marks_in_markdown_count_the_text_as_it_was_written(script: Script) -> None:
    text = "- a **bold** word\n- quiet"
    at = text.index("bold")
    spans = [{"start": at, "end": at + 4, "kind": "hit"}]
    made = html(script, "markdown", text, spans)
    assert '<strong><mark class="hit">bold</mark></strong>' in made


@pytest.mark.parametrize("function", ["markdown", "prose", "marked"])
def test_markup_in_a_text_is_text(script: Script, function: str) -> None:
    evil = (
        "<img src=x onerror='hurt()'> [a](javascript:hurt()) <script>hurt()</script>\n\n- <i>x</i>"
    )
    made = script(
        f"const box = h('div', {{}}, {function}({json.dumps(evil)}));"
        "return [box.querySelectorAll('img, script, a, i').length, box.textContent];"
    )
    assert made[0] == 0
    assert "<img src=x onerror='hurt()'>" in made[1]


def test_the_focus_comes_back_after_a_redraw_or_goes_to_the_root(script: Script) -> None:
    body = """
      const box = h("div", {}), root = h("section", {tabindex: 0}, box);
      document.body.append(root);
      const made = it => h("button", {data: {key: it}}, it);
      const draw = (...names) => redraw(root, box, names.map(made));
      draw("a", "b");
      box.children[1].focus();
      draw("b", "c");
      const kept = document.activeElement.textContent;
      draw("c");
      return [kept, document.activeElement === root];
    """
    assert script(body) == ["b", True]


def test_keys_go_to_the_view_and_not_through_it(script: Script) -> None:
    body = """
      const heard = [], through = [];
      const field = h("input"), root = h("section", {tabindex: 0}, field);
      document.body.append(root);
      document.addEventListener("keydown", it => through.push(it.key));
      const known = {j: () => heard.push("j"), "Shift+Enter": () => heard.push("big")};
      keys(root, known, {Escape: () => heard.push("out")});
      const press = (at, key, more) => at.dispatchEvent(
        new KeyboardEvent("keydown", {key, bubbles: true, composed: true, ...more}));
      press(root, "j"); press(root, "a"); press(root, "Enter", {shiftKey: true});
      press(field, "j"); press(field, "Escape"); press(root, "s", {ctrlKey: true});
      return [heard, through];
    """
    assert script(body) == [["j", "big", "out"], ["s"]]


def test_a_question_is_asked_again_until_it_is_answered_and_a_dead_kernel_is_told(
    script: Script,
) -> None:
    body = """
      const sent = [], told = [], listeners = {};
      const on = (name, it) => { listeners[name] = it; };
      const model = {send: it => sent.push(it), on, off() {}};
      const real = setTimeout;
      window.setTimeout = (work, after) => real(work, after / 500);
      const kernel = new Kernel(model, it => told.push(it));
      const answer = kernel.ask("rows", {from: 3});
      return new Promise(done => real(async () => {
        listeners["msg:custom"]({id: sent[0].id, ok: 5});
        const got = await answer, asked = sent.length;
        model.send = () => { throw new Error("no comm"); };
        const failed = await kernel.ask("rows").catch(it => it.message);
        window.setTimeout = real;
        done([got, asked > 1, new Set(sent.map(it => it.id)).size, told, failed]);
      }, 60));
    """
    got = script(body)
    assert got == [5, True, 1, ["busy", "silent", "here", "gone"], "the kernel is gone"]
