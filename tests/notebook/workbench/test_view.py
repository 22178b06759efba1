"""The live workbench as the browser meets it: what it asks, what it is told, what it shows."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import pytest

from ondine_nb.errors import ConfigurationError
from ondine_nb.evaluation import LabelSet
from ondine_nb.notebook.workbench.kept import KeptDraft
from ondine_nb.notebook.workbench.panel import Panel
from tests.patience import PATIENCE
from tests.server import MessagesServer
from tests.server.answers import prompt_of

ROWS = 40
PROMPT = "Judge {strictness} of 5, {tone}: {text}"


def answer(body: Any) -> str:
    text = prompt_of(body)
    at = int(text.split()[-1])
    wrong = at % (10 if "strict" in text else 3) == 0
    return json.dumps({"verdict": ("good", "bad")[(at + wrong) % 2], "why": f"reason {at}"})


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answer) as running:
        yield running


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs beside the test, as a kernel's does."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, daemon=True)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join(PATIENCE)


class Bench:
    """A panel on a loop of its own, asked as the browser asks."""

    def __init__(self, server: MessagesServer, loop: Any, **given: Any) -> None:
        self.strictness = ipywidgets.IntSlider(3, 1, 5)
        frame = pd.DataFrame(
            {
                "kind": ["mail"] * ROWS,
                "text": [f"a long review, number {at}" for at in range(ROWS)],
                "mood": [("good", "bad")[at % 2] if at < 30 else None for at in range(ROWS)],
            }
        )
        options = {"schema": "verdict: good|bad, why: str", "base_url": server.url, "sample": 20}
        self.panel = Panel(
            frame, given.pop("prompt", PROMPT),
            {"strictness": self.strictness, "tone": ["dry", "warm"]},
            {**options, **given}, source="reviews", shell=None, labels="mood",
        )  # fmt: skip
        self.view, self.loop = self.panel.view, loop
        self.view._loop = loop
        self.told: list[dict[str, Any]] = []
        self.view.widget.send = lambda message, *_: self.told.append(message)

    def ask(self, what: str, **given: Any) -> Any:
        """What is answered; an error is raised as one."""
        answer = self.view._answered_once({"id": f"{what}-{len(self.told)}-{given}", "ask": what,
                                           "given": given})  # fmt: skip
        if "error" in answer:
            raise ConfigurationError(answer["error"])
        return answer["ok"]

    def act(self, what: str, **given: Any) -> dict[str, Any]:
        """Ask for what goes on on the loop, and wait for its end; gives the state then."""
        self.ask(what, **given)
        self.settle()
        return self.view.state()

    def settle(self) -> None:
        async def idle() -> None:
            while self.view._tasks - {asyncio.current_task()}:
                await asyncio.sleep(0.01)

        asyncio.run_coroutine_threadsafe(idle(), self.loop).result(PATIENCE)
        self.view.wait(PATIENCE)


@pytest.fixture
def bench(server: MessagesServer, loop: Any, home: Path) -> Bench:
    return Bench(server, loop)


def test_what_is_typed_is_checked_and_the_cell_follows_it(bench: Bench) -> None:
    told = bench.ask("edit", changes={"prompt": "Tell {txt}"})["check"]
    assert told["reasons"]["Preview"].startswith("{txt} is neither a column")
    assert [it[2] for it in told["marks"]] == ["unknown"]
    bench.ask("edit", changes={"budget": "$0.05", "model": "claude-sonnet-5-5"})
    changes = {"prompt": "Tell {text} to {whom}", "texts": {"whom": "all"}}
    told = bench.ask("edit", changes=changes)["check"]
    assert told["reasons"]["Preview"] == ""
    assert told["free"] == ["whom"]
    assert told["unused"] == ["strictness", "tone"]
    for words in (
        "-m claude-sonnet-5-5",
        "--budget 0.05",
        "-p whom=all",
        "\nTell {text} to {whom}",
    ):
        assert words in told["code"]["cell"]
    told = bench.ask("edit", changes={"budget": "a lot"})["check"]
    assert "'a lot' is not an amount in USD" in told["reasons"]["Preview"]


def test_a_control_is_a_widget_whoever_moves_it(bench: Bench) -> None:
    bench.ask("edit", changes={"controls": {"strictness": 5, "tone": 1}})
    assert bench.strictness.value == 5
    assert bench.panel.options["params"] == {"strictness": "5", "tone": "warm"}
    turn = bench.view.state()["turn"]
    bench.strictness.value = 2
    assert bench.view.state()["turn"] > turn  # the browser takes what the bench says
    assert [it["value"] for it in bench.view.state()["controls"]] == [2, 1]
    with pytest.raises(ConfigurationError):
        bench.ask("edit", changes={"controls": {"tone": 9}})


def test_a_preview_tells_what_is_new_and_says_of_how_many_so_far(loop: Any, home: Path) -> None:
    with MessagesServer(answer=answer, latency=(0.06, 0.08)) as server:
        bench = Bench(server, loop, concurrency=1)
        state = bench.act("preview")
    told = [it for it in bench.told if it.get("tell") == "progress" and it["head"]["running"]]
    said = [it["head"]["score"] for it in told]
    assert any(said)
    assert all(it.endswith("so far") for it in said if it)
    assert all(len(it["lines"]) < 20 for it in told)
    assert state["rows"]["head"]["score"].endswith("of 20 labelled")
    assert not state["rows"]["head"]["running"]
    positions = [line["position"] for line in state["rows"]["lines"]]
    assert [it for it in positions if it >= 30] == []  # rows with a label come first
    assert state["rows"]["head"]["texts"] == ["text"]
    line = state["rows"]["lines"][0]
    assert line["right"] is (line["label"] == line["answer"][0]["text"])


def test_what_was_clicked_goes_on_until_the_browser_is_told_its_end(
    bench: Bench, server: MessagesServer
) -> None:
    server.pause()
    begun = bench.ask("preview")["begun"]
    server.wait_for(1)
    going = bench.view.state()
    assert going["begun"] == begun > going["ended"]
    server.resume()
    bench.settle()
    assert bench.view.widget.state["ended"] == begun
    begun = bench.ask("compare")["begun"]  # nothing has changed: it ends in one line
    bench.settle()
    assert bench.view.widget.state["ended"] == begun
    assert "nothing has changed since A" in bench.view.widget.state["message"][1]


def test_what_the_shown_try_has_asked_is_told_so_that_a_change_is_seen_at_once(
    bench: Bench,
) -> None:
    asked = bench.act("preview")["shown"]["asked"]
    assert asked["{strictness}"] == "3"
    assert asked["{tone}"] == "dry"
    assert asked["prompt"] == PROMPT
    assert "as of" not in repr(bench.panel)
    bench.strictness.value = 4
    assert "as of v1; changed since: strictness 4" in repr(bench.panel)
    assert "as of v1; changed since: strictness 4" in bench.panel._repr_html_()


def test_restore_fills_the_form_and_moves_the_widgets(bench: Bench, server: MessagesServer) -> None:
    bench.act("preview")
    bench.ask("edit", changes={"prompt": "Tell {text}", "sample": 5, "system": "Be kind."})
    bench.ask("edit", changes={"controls": {"strictness": 5, "tone": 1}})
    bench.act("preview")
    sent, turn = server.arrived, bench.view.state()["turn"]
    state = bench.act("restore", number=1)
    assert (bench.strictness.value, state["form"]["prompt"]) == (3, PROMPT)
    assert (state["form"]["sample"], state["form"]["system"], state["shown"]["name"]) == (
        20, "", "v1",
    )  # fmt: skip
    assert [it["value"] for it in state["controls"]] == [3, 0]
    assert state["turn"] > turn
    assert [it["name"] for it in state["board"]["lines"] if it["current"]] == ["v1"]
    assert server.arrived == sent


def test_a_key_gives_a_label_that_lasts_and_all_scores_follow(bench: Bench) -> None:
    bench.act("preview")
    bench.ask("edit", changes={"prompt": "Judge, be strict, {tone}: {text}"})
    state = bench.act("preview")
    wrong = next(line for line in state["rows"]["lines"] if line["right"] is False)
    before = {it["name"]: it["value"] for it in state["board"]["lines"]}
    choice = state["rows"]["head"]["choices"].index(wrong["answer"][0]["text"])
    marks = bench.ask("label", position=wrong["position"], choice=choice)["marks"]
    at = [line["position"] for line in state["rows"]["lines"]].index(wrong["position"])
    assert marks[at] == [wrong["answer"][0]["text"], True]
    bench.settle()
    board = {it["name"]: it["value"] for it in bench.view.state()["board"]["lines"]}
    assert board["v2"] == pytest.approx(before["v2"] + 1 / 20)
    change = 1 if wrong["position"] % 3 == 0 else -1  # whether v1 was wrong there, too
    assert board["v1"] == pytest.approx(before["v1"] + change / 20)
    (label,) = LabelSet("labeled").labels
    assert dict(label.fields) == {"verdict": wrong["answer"][0]["text"]}
    assert bench.ask("undo")["marks"][at] == [wrong["label"], False]
    with pytest.raises(ConfigurationError, match="no choice 9"):
        bench.ask("label", position=wrong["position"], choice=8)


def test_a_ticked_try_is_compared_inside_and_labels_can_be_given_there(bench: Bench) -> None:
    bench.act("preview")
    bench.ask("edit", changes={"prompt": "Judge, be strict, {tone}: {text}"})
    bench.act("preview")
    assert bench.view._full_state()["inside"] == {}
    bench.act("tick", number=1)
    inner = bench.view._full_state()["inside"]["comparison"]
    assert inner["names"] == ["v1", "v2"]
    assert inner["tabs"]["fixed"] > 0
    asked = {"id": "inner-1", "ask": "look", "given": {"tab": "fixed"}}
    told = bench.view._answered_once({"id": "outer-1", "inside": "comparison", "message": asked})
    assert told["ok"]["ok"]["count"] == inner["tabs"]["fixed"]
    row = told["ok"]["ok"]["lines"][0]["at"]
    said = {"id": "inner-2", "ask": "label", "given": {"at": row, "which": 0}}
    for _ in range(2):  # what is asked again is done once
        bench.view._answered_once({"id": "outer-2", "inside": "comparison", "message": said})
    assert len(LabelSet("labeled").labels) == 1
    assert bench.told[-1]["tell"] in ("inside", "board")
    bench.act("tick", number=1)
    assert bench.view._full_state()["inside"] == {}


def test_a_row_opens_in_full_and_a_note_stays(bench: Bench) -> None:
    state = bench.act("preview")
    position = state["rows"]["lines"][0]["position"]
    whole = bench.ask("row", position=position)
    assert whole["prompt"] == f"Judge 3 of 5, dry: a long review, number {position}"
    assert {it["name"]: it["text"] for it in whole["answer"]}["why"] == f"reason {position}"
    board = bench.ask("note", number=1, text="  too strict  ")
    assert board["lines"][0]["note"] == "too strict"
    assert list(bench.panel.tries["note"]) == ["too strict"]


def test_the_draft_is_taken_up_with_its_controls_its_try_and_its_tick(
    server: MessagesServer, loop: Any, home: Path
) -> None:
    first = Bench(server, loop)
    first.view.take_up(KeptDraft(home, "reviews", {}))
    first.act("preview")
    first.ask("edit", changes={"prompt": "Judge, be strict, {tone}: {text}", "budget": "0.5"})
    first.ask("edit", changes={"controls": {"strictness": 5, "tone": 1}, "labels": ""})
    first.act("preview")
    first.act("tick", number=1)
    first.view.keep()
    second = Bench(server, loop)
    second.view.take_up(KeptDraft(home, "reviews", {}))
    assert second.panel.bench.form() == first.panel.bench.form()
    assert second.strictness.value == 5
    assert (second.panel._work.current, second.panel._work.ticked) == (2, 1)
    asyncio.run_coroutine_threadsafe(second.view._recall_all(), loop).result(PATIENCE)
    assert second.view.state()["rows"]["head"]["figures"].startswith("20 rows")
    assert second.view._full_state()["inside"]["comparison"]["names"] == ["v1", "v2"]
    assert server.arrived == 40
    anew = Bench(server, loop)
    anew.view.take_up(KeptDraft(home, "reviews", {}), anew=True)
    assert anew.panel.prompt == PROMPT


def test_five_hundred_tries_open_with_the_last_ones_and_all_on_demand(bench: Bench) -> None:
    from ondine_nb.evaluation import Try

    for number in range(70):
        bench.panel._work.tries.keep(Try({"prompt": f"Tell {number} {{text}}"}, (0,), "x"))
    told = bench.view.state()["board"]
    assert (len(told["lines"]), told["total"], told["lines"][0]["name"]) == (60, 70, "v70")
    assert len(bench.ask("all_tries")["lines"]) == 70


def test_examples_are_named_and_shots_chosen_and_both_are_in_the_cell(
    server: MessagesServer, loop: Any, home: Path
) -> None:
    bench = Bench(server, loop, schema="verdict: good|bad")
    state = bench.act("preview")
    for line in state["rows"]["lines"][:6]:
        bench.ask("label", position=line["position"], choice=line["position"] % 2)
    bench.ask("edit", changes={"examples": "labeled", "shots": 3})
    state = bench.act("preview")
    assert "--examples labeled --shots 3" in state["check"]["code"]["cell"]
    assert state["message"] is None
    assert (state["shown"]["asked"]["examples"], state["shown"]["asked"]["shots"]) == (
        "labeled", "3",
    )  # fmt: skip
    assert any("served as examples" in it for it in state["rows"]["head"]["remarks"])
    told = bench.ask("edit", changes={"examples": ""})["check"]
    assert "--shots" not in told["code"]["cell"]
