"""A live view on an empty page of Chromium, with its Python in this process: no Jupyter between.

The page has a model as anywidget gives one; what the view asks goes to Python as a message would,
and comes back as one.
"""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Locator, Page

from ondine_nb.notebook.ui import LiveView
from tests.patience import PATIENCE

__all__ = ["LivePage"]

MODEL = """
  window.alive = true;
  const listeners = {};
  const heard = (name, ...given) => [...(listeners[name] ?? [])].forEach(it => it(...given));
  const model = window.model = {
    state: STATE, comm_live: true, get: name => model[name],
    on: (name, it) => { (listeners[name] ??= []).push(it); },
    off: (name, it) => { listeners[name] = listeners[name].filter(one => one !== it); },
    send: message => {
      if (!window.alive) throw new Error("no comm");
      window.toPython(JSON.stringify(message)).then(window.fromPython);
    },
  };
  window.fromPython = texts => texts.map(it => JSON.parse(it)).forEach(it => {
    if (!it.newState) return heard("msg:custom", it);
    model.state = it.newState;
    heard("change:state");
  });
  window.dieKernel = () => {
    window.alive = model.comm_live = false;
    heard("comm_live_update");
  };
  const shown = MODULE_DEFAULT;
  window.end = shown.render({model, el: document.querySelector("#cell")});
"""


class LivePage:
    """A view on a page. `sent` are the bytes of each message that came back."""

    def __init__(self, page: Page, view: LiveView, style: str = "") -> None:
        self.page, self.view = page, view
        self.sent: list[int] = []
        self._out: list[str] = []
        page.set_default_timeout(PATIENCE * 1000)
        widget = view.widget
        widget.send = self._send
        widget.observe(self._state, "state")
        page.set_content(
            f'<meta charset="utf-8"><body style="margin:0;padding:8px 16px;{style}">'
            '<input id="outside"><div id="cell"></div></body>'
        )
        page.expose_function("toPython", self._hear)
        page.add_style_tag(content=widget._css)
        script = widget._esm.replace("export default ", "const shownView = ")
        known = MODEL.replace("STATE", json.dumps(widget.state))
        page.evaluate(f"() => {{ {script}\n{known.replace('MODULE_DEFAULT', 'shownView')} }}")

    @property
    def root(self) -> Locator:
        return self.page.locator(".ondine-ui")

    def _hear(self, text: str) -> list[str]:
        self.view.widget._handle_custom_msg(json.loads(text), [])
        return self._taken()

    def _send(self, message: dict[str, Any], *_: Any) -> None:
        text = json.dumps(message)
        self.sent.append(len(text.encode()))
        self._out.append(text)

    def _state(self, change: Any) -> None:
        self._out.append(json.dumps({"newState": change["new"]}))

    def _taken(self) -> list[str]:
        taken, self._out = self._out, []
        return taken

    def flush(self) -> None:
        """Hand over what Python said without being asked."""
        self.page.evaluate("texts => window.fromPython(texts)", self._taken())
