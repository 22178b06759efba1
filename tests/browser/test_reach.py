"""That every control of every view has a name and a role, and that the keyboard reaches it.

Names and roles are those that Chromium hands to a screen reader.
"""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Error, Locator, expect

from tests.server import MessagesServer

from .conftest import Notebook, Opener
from .test_panel import SCHEMA, bench, judge, press, settled, source

__all__ = ["judge"]

pytestmark = pytest.mark.browser

CONTROLS = "button, input, select, textarea, summary, a[href], [role=slider], [tabindex='0']"
SLIDER = "noUi-handle"  # of ipywidgets, which gives it no name: its label only stands beside it
# Marks what is to be reached, and gives how many there are: shown, not disabled, not in between.
TO_REACH = """(view, controls) => {
  view.querySelectorAll('[data-reach]').forEach(it => delete it.dataset.reach);
  const open = [...view.querySelectorAll(controls)].filter(it =>
    it.checkVisibility({visibilityProperty: true}) && !it.disabled && it.tabIndex >= 0);
  open.forEach((it, at) => { it.dataset.reach = at; });
  return open.length;
}"""
# What has the focus: its mark, and whether it shows that it has.
FOCUSED = """() => {
  const it = document.activeElement, style = getComputedStyle(it);
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  const around = it.closest('.widget-checkbox, .widget-slider') ?? it;
  const edge = style.boxShadow !== 'none' || getComputedStyle(around).boxShadow !== 'none';
  return [it.dataset.reach ?? '', ring || edge || it.matches('input, select, textarea')];
}"""


def nameless(view: Locator) -> list[str]:
    """The HTML of each shown control that has no name or no role for a screen reader."""
    while True:
        try:
            return _nameless(view)
        except Error as error:  # the view was drawn anew meanwhile
            if "Could not find node" not in str(error):
                raise


def _nameless(view: Locator) -> list[str]:
    page = view.page
    devtools = page.context.new_cdp_session(page)
    devtools.send("DOM.enable")
    devtools.send("Accessibility.enable")
    view.evaluate(TO_REACH, CONTROLS)
    root = devtools.send("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
    asked = {"nodeId": root, "selector": "[data-reach]"}
    found = []
    for node in devtools.send("DOM.querySelectorAll", asked)["nodeIds"]:
        (it, *_) = devtools.send(
            "Accessibility.getPartialAXTree", {"nodeId": node, "fetchRelatives": False}
        )["nodes"]
        name: Any = it.get("name", {}).get("value", "")
        if it.get("ignored") or not str(name).strip() or it["role"]["value"] == "generic":
            found.append(devtools.send("DOM.getOuterHTML", {"nodeId": node})["outerHTML"][:200])
    devtools.detach()
    return found


def unreached(view: Locator) -> list[str]:
    """The HTML of each control that Tab doesn't come to, or that doesn't show its focus."""
    while True:
        count = view.evaluate(TO_REACH, CONTROLS)
        reached = _reached(view, 2 * count + 4)
        marks = [f"[data-reach='{at}']" for at in range(count) if str(at) not in reached]
        if view.locator("[data-reach]").count() == count:  # else it was drawn anew meanwhile
            return [str(view.locator(it).evaluate("it => it.outerHTML"))[:200] for it in marks]


def _reached(view: Locator, presses: int) -> set[str]:
    """The marks of what has the focus and shows it, behind so many presses of Tab."""
    page = view.page
    view.locator("[data-reach='0']").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")  # by the keyboard, so that the focus is shown
    found = set()
    for _ in range(presses):
        mark, shows = page.evaluate(FOCUSED)
        if mark and shows:
            found.add(mark)
        page.keyboard.press("Tab")
    return found


def card_view(notebook: Notebook, at: int) -> Locator:
    return notebook.cell(at).locator(".ondine-view").first


def test_of_the_card_live_and_ended(open_notebook: Opener) -> None:
    with MessagesServer(latency=0.2, faults={"refusal": 0.3}) as server:
        notebook = open_notebook(
            "%%ondine out --concurrency 4 -i frame(200,'reach')\nTell {text}", server=server
        )
        notebook.start(1)
        notebook.cell(1).get_by_role("button", name="Show failed rows").wait_for()
        server.pause()  # the run can't end before it is stopped
        notebook.click(1, "Pause")
        notebook.wait_for(1, "[data-state=paused]")
        view = card_view(notebook, 1)
        assert nameless(view) == []
        assert unreached(view) == []
        notebook.click(1, "Stop")
        server.resume()
        notebook.wait_for(1, "[data-state=stopped]")
        notebook.cell(1).get_by_role("button", name="Retry failed").wait_for()
        cell = notebook.cell(1).locator(".jp-OutputArea")
        assert nameless(cell) == []
        assert unreached(cell) == []


def test_of_the_workbench_in_every_state(open_notebook: Opener, judge: MessagesServer) -> None:
    notebook = open_notebook(source("Reach", more=SCHEMA), server=judge)
    notebook.run(1)
    panel = bench(notebook)
    press(panel, "Preview")
    settled(panel, 20)
    prompt = panel.get_by_label("Prompt", exact=True)
    prompt.fill(prompt.input_value() + " {txt}")
    expect(panel.get_by_role("button", name="make {txt} a control")).to_be_visible()
    assert [it for it in nameless(panel) if SLIDER not in it] == []
    panel.get_by_role("button", name="make {txt} a control").click()
    expect(panel.get_by_label("txt", exact=True)).to_be_visible()
    press(panel, "As code")
    expect(panel.locator(".code textarea").first).to_be_visible()
    assert [it for it in nameless(panel) if SLIDER not in it] == []
    assert unreached(panel) == []


def test_of_the_results_with_a_row_open(open_notebook: Opener) -> None:
    with MessagesServer(faults={"refusal": 0.3}) as server:
        notebook = open_notebook(
            "%%ondine out -i frame(40,'reach')\nTell {text}", "out_run.show()", server=server
        )
        notebook.run(1)
        notebook.run(2)
        view = notebook.cell(2).locator(".ondine-results")
        view.locator(".scroll tr[data-row]").first.wait_for()
        view.locator(".scroll tr[data-row]").nth(2).get_by_role("button").first.click()
        expect(view.get_by_role("region")).to_be_visible()
        view.get_by_role("button", name="Columns").click()
        assert nameless(view) == []
        assert unreached(view) == []
