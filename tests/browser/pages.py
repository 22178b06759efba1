"""JupyterLab's page, kept from test to test: to load it takes longer than most tests do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import BrowserContext, Error, Page

if TYPE_CHECKING:
    from .conftest import Jupyter

__all__ = ["Pages"]

# A page that was loaded again, or left, has lost the mark.
MARK = "() => { window.keptByTests = true; }"
KEPT = "() => Boolean(window.keptByTests && window.jupyterapp)"
OPEN = """async path => {
  const {commands, shell} = window.jupyterapp;
  if (shell.leftCollapsed) shell.expandLeft();
  shell.activateById((await commands.execute('docmanager:open', {path})).id);
}"""
# Each cell's outputs, with what hides them: a test that fails elsewhere is seen by this alone.
TELL = """() => [...document.querySelectorAll('.jp-OutputArea-child')].map((it, at) => {
  const copy = it.cloneNode(true);
  copy.querySelectorAll('style, script').forEach(node => node.remove());
  const hidden = [it, ...it.querySelectorAll('*')]
    .filter(node => node.localName !== 'style' && getComputedStyle(node).display === 'none')
    .map(node => `${node.localName}.${[...node.classList].join('.')}`);
  return `output ${at}: ${copy.outerHTML.slice(0, 3000)}\\n  not displayed: ${hidden.join(' ')}`;
}).join('\\n')"""
LEAVE = "() => { for (const it of [...window.jupyterapp.shell.widgets('main')]) it.dispose(); }"


class Pages:
    """Opens notebooks in the kept page where it is free, else in one of their own."""

    def __init__(self, browser: BrowserContext, jupyter: Jupyter) -> None:
        self._browser, self._jupyter = browser, jupyter
        self._kept: Page | None = None
        self._said: dict[Page, list[str]] = {}
        self.opened: list[Page] = []

    def open(self, name: str, where: str = "lab/tree") -> Page:
        """A page with this notebook of the server's folder; a lab's page may have been kept."""
        in_lab = where.startswith("lab")
        page = self._kept
        if in_lab and page is not None and page not in self.opened and not page.is_closed():
            page.set_viewport_size({"width": 1300, "height": 1000})
            page.evaluate(OPEN, name)
        else:
            page = self._load(f"{where}/{name}", "&reset" if in_lab else "")
            if in_lab and (self._kept is None or self._kept.is_closed()):
                self._kept = page
        self.opened.append(page)
        page.locator(".jp-CodeCell .cm-content").first.wait_for()
        if page is self._kept:
            page.evaluate(MARK)
        return page

    def _load(self, path: str, query: str) -> Page:
        page = self._browser.new_page()
        page.set_viewport_size({"width": 1300, "height": 1000})
        said = self._said[page] = []
        page.on("console", lambda it: said.append(f"{it.type}: {it.text[:300]}"))
        page.on("pageerror", lambda error: said.append(f"thrown: {str(error)[:300]}"))
        page.goto(f"{self._jupyter.url}/{path}?token={self._jupyter.token}{query}")
        return page

    def told(self, page: Page) -> str:
        """What a page shows and has said, for who can't look at it."""
        loud = [
            it for it in self._said.get(page, []) if not it.startswith(("log", "debug", "info"))
        ]
        return "\n".join([page.evaluate(TELL), *loud[-30:]])

    def leave(self, *, failed: bool) -> None:
        """Close what the test has opened, but for a kept page that is as it was."""
        for page in self.opened:
            if failed or page is not self._kept or not _left(page):
                page.close()
                self._said.pop(page, None)
        self.opened = []


def _left(page: Page) -> bool:
    """Whether the page is still the one that was loaded, with no notebook any more."""
    try:
        if page.is_closed() or not page.evaluate(KEPT):
            return False
        page.evaluate(LEAVE)
    except Error:
        return False
    return True
