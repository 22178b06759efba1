"""Live views: what the browser asks is answered once, by name, and in every thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import pytest

from ondine_nb.notebook.ui import LiveView
from ondine_nb.notebook.ui import view as live_views
from ondine_nb.notebook.ui.templates import module, sheet


class Counter(LiveView):
    """A view that counts what it is asked."""

    module = "results/results.js"
    sheet = "results/results.css"
    opens_others = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.sent: list[dict[str, Any]] = []

    @property
    def actions(self) -> Mapping[str, Callable[..., Any]]:
        return {"add": self._add, "fail": self._fail}

    def _add(self, by: int) -> int:
        before = self.asked
        for _ in range(50):  # another thread gets its turn here, if it may
            pass
        self.asked = before + by
        return self.asked

    def _fail(self) -> None:
        raise ValueError("no <b>such</b> thing, sk-ant-secretsecret")

    def state(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def static(self) -> str:
        return f'<p class="{self.static_class}">asked {self.asked}</p>'

    def plain(self) -> str:
        return f"asked {self.asked}"


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    made = Counter()
    monkeypatch.setattr(made.widget, "send", lambda message, *_: made.sent.append(message))
    yield made
    made.close()


def hear(view: Counter, message: Any) -> None:
    view.widget._handle_custom_msg(message, [])


def test_what_is_asked_is_answered_under_its_id(view: Counter) -> None:
    hear(view, {"id": "a-1", "ask": "add", "given": {"by": 2}})
    hear(view, {"id": "a-2", "ask": "add", "given": {"by": 3}})
    assert view.sent == [{"id": "a-1", "ok": 2}, {"id": "a-2", "ok": 5}]


def test_what_is_asked_again_is_answered_again_and_not_done_again(view: Counter) -> None:
    message = {"id": "a-1", "ask": "add", "given": {"by": 1}}
    hear(view, message)
    hear(view, message)
    assert view.asked == 1
    assert view.sent == [{"id": "a-1", "ok": 1}] * 2


def test_a_wrong_question_is_answered_by_a_line_without_a_secret(view: Counter) -> None:
    hear(view, {"id": "a-1", "ask": "fail"})
    hear(view, {"id": "a-2", "ask": "nothing"})
    hear(view, {"id": "a-3", "ask": "add", "given": {"per": 1}})
    errors = [message["error"] for message in view.sent]
    assert errors[0].startswith("ValueError: no <b>such</b> thing")
    assert "secretsecret" not in errors[0]
    assert errors[1] == "this view has no 'nothing'"
    assert "per" in errors[2]
    for odd in (None, "text", {"ask": "add"}, []):
        hear(view, odd)
    assert len(view.sent) == 3


def test_threads_ask_at_once_and_none_is_lost(view: Counter) -> None:
    def ask(name: str) -> None:
        for at in range(100):
            hear(view, {"id": f"{name}-{at}", "ask": "add", "given": {"by": 1}})

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert view.asked == 400
    assert {message["id"] for message in view.sent} == {
        f"{n}-{i}" for n in "abcd" for i in range(100)
    }


def test_the_state_is_there_for_a_page_that_comes_later(view: Counter) -> None:
    assert view.widget.state == {"asked": 0, "static": view.static_class}
    hear(view, {"id": "a-1", "ask": "add", "given": {"by": 7}})
    view.set_state()
    assert view.widget.state["asked"] == 7


class Holder(Counter):
    """A counter in which another one may stand."""

    inside = ("comparison/comparison",)


def test_a_view_inside_asks_and_is_told_by_the_one_that_holds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holder, held = Holder(), Counter()
    monkeypatch.setattr(holder.widget, "send", lambda message, *_: holder.sent.append(message))
    assert holder.widget.state["inside"] == {}
    holder.hold("comparison", held)
    assert holder.set_state()["inside"]["comparison"]["asked"] == 0
    message = {"id": "b-1", "ask": "add", "given": {"by": 4}}
    for number in (1, 2):  # asked again under another id of the holder's: done once
        hear(holder, {"id": f"a-{number}", "inside": "comparison", "message": message})
    assert (holder.asked, held.asked) == (0, 4)
    assert holder.sent[-1] == {"id": "a-2", "ok": {"id": "b-1", "ok": 4}}
    held.set_state()
    told = {"asked": 4, "static": held.static_class}
    assert holder.sent[-1] == {"tell": "inside", "view": "comparison", "state": told}
    holder.hold("comparison", None)
    held.set_state()
    hear(holder, {"id": "a-3", "inside": "comparison", "message": message})
    assert holder.sent[-1] == {"id": "a-3", "error": "this view has no None"}
    holder.close()


def test_a_module_inside_another_keeps_its_names_to_itself() -> None:
    script = module("workbench/panel.js", "comparison/comparison.js")
    assert script.count("export default") == 1
    assert "const comparison = (() => {" in script
    assert ".ondine-comparison" in sheet("workbench/panel.css", "comparison/comparison.css")


def test_in_a_terminal_its_text_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    view = Counter()
    view.show()
    assert capsys.readouterr().out == "asked 0\n"
    assert view._widget is None


def test_a_closed_view_hears_and_sends_nothing(view: Counter) -> None:
    view.close()
    view._hear({"id": "a-1", "ask": "add", "given": {"by": 2}})
    view.tell("note", text="nobody hears it")
    assert (view.asked, view.sent) == (0, [])


def test_neither_the_package_nor_the_views_load_anywidget_until_one_is_shown() -> None:
    code = "import sys, ondine_nb.notebook.ui, ondine_nb.notebook.card\n"
    code += "print('anywidget' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", ["results/results.css", "workbench/panel.css"])
def test_every_rule_of_a_sheet_stands_in_its_view(name: str) -> None:
    depth, rules, begun = 0, [], 0
    text = sheet(name)
    for at, letter in enumerate(text):
        if letter == "{":
            if depth == 0:
                rules.append(text[begun:at].strip())
            depth += 1
        elif letter == "}":
            depth -= 1
            begun = at + 1
    assert depth == 0
    assert {rule for rule in rules if "ondine-" not in rule and not rule.startswith("@")} == set()


def test_no_two_kinds_of_views_share_the_name_by_which_a_page_keeps_their_sheet() -> None:
    kinds = _kinds(LiveView)
    names = {kind: live_views._widget_class(kind.module, kind.sheet).__name__ for kind in kinds}
    sheets = {kind: kind.sheet for kind in kinds}
    assert len(set(names.values())) == len(set(sheets.values())) >= 4


def _kinds(view: type[LiveView]) -> list[type[LiveView]]:
    """The kinds of views of the package."""
    for name in ("comparison.view", "results.review", "results.view", "workbench.view"):
        import_module(f"ondine_nb.notebook.{name}")
    below = [kind for each in view.__subclasses__() for kind in (each, *_kinds(each))]
    return [kind for kind in below if kind.__module__.startswith("ondine_nb.")]


def test_a_module_exports_one_view_and_imports_nothing() -> None:
    text = module("results/results.js")
    assert text.count("export default view(") == 1
    assert "import(" not in text
    assert "\nimport " not in text
    assert "innerHTML" not in text
    assert live_views.MOST_VIEWS >= 1
