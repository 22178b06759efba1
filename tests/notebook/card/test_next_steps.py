"""Under the card of a run that is over stand buttons that lead on, and what they open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Run
from ondine_nb.notebook.card import view as card_view
from ondine_nb.notebook.card.view import NOTHING, WidgetObserver
from ondine_nb.notebook.ui import display_bundle
from tests.notebook.card.conftest import Screen
from tests.notebook.ended_runs import ended_run, reviews
from tests.patience import PATIENCE


def opened(run: Run) -> WidgetObserver:
    view = WidgetObserver(run)
    run.context.observers.append(view)
    view.show()
    view.finish()
    return view


def names(view: WidgetObserver) -> tuple[str, ...]:
    return view._row.names if view._row is not None else ()


async def click(view: WidgetObserver, name: str) -> None:
    assert view._row is not None
    view._row.buttons[name].click()
    await asyncio.sleep(0)


def show(_: Any) -> None:
    display_bundle({"text/plain": "rows, live"}, "live", update=False)
    display_bundle({"text/plain": "rows, saved"}, "saved", update=False)


async def test_there_is_a_button_for_each_thing_that_can_be_done(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ended_run(reviews(30), tmp_path, failing=0)
    monkeypatch.setattr(Run, "review", show, raising=False)
    assert names(opened(whole)) == ("Look through", "Review", "Improve this prompt")
    some = ended_run(reviews(30), tmp_path, failing=0.4)
    assert names(opened(some)) == ("Look through", "Review", "Retry failed", "Improve this prompt")
    monkeypatch.delattr(Run, "review")
    assert names(opened(ended_run(reviews(30), tmp_path, failing=0)))[1] == "Improve this prompt"


async def test_what_is_opened_stands_under_the_buttons_until_it_is_closed(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "show", show)
    view = opened(ended_run(reviews(5), tmp_path, failing=0))
    before = len(screen.shown)
    await click(view, "Look through")
    places = [place for _, place, update in screen.shown[before:] if not update]
    assert len(places) == card_view.MOST_UNDER == 2
    texts = [bundle["text/plain"] for bundle, _, _ in screen.shown[-2:]]
    assert texts == ["rows, live", "rows, saved"]
    assert [place for _, place, _ in screen.shown[-2:]] == places
    display_bundle({"text/plain": "rows, saved anew"}, "saved", update=True)
    assert screen.shown[-1][1:] == (places[1], True)
    await click(view, "Look through")
    assert [it[0]["text/html"] for it in screen.shown[-2:]] == [NOTHING, NOTHING]
    display_bundle({"text/plain": "too late"}, "saved", update=True)
    assert screen.shown[-1][1] not in places


async def test_one_view_is_open_at_a_time(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "show", show)
    monkeypatch.setattr(Run, "review", show, raising=False)
    view = opened(ended_run(reviews(5), tmp_path, failing=0))
    assert view._row is not None
    for name in ("Look through", "Review", "Look through"):
        await click(view, name)
        marked = [it for it, one in view._row.buttons.items() if "o-open" in one._dom_classes]
        assert marked == [name]
    assert len({place for _, place, update in screen.shown if not update}) == 4


async def test_what_can_t_be_opened_is_said_beside_the_buttons(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Any) -> None:
        raise RuntimeError("there is no room")

    monkeypatch.setattr(Run, "show", fails)
    view = opened(ended_run(reviews(5), tmp_path, failing=0))
    await click(view, "Look through")
    assert view._row is not None
    assert "RuntimeError: there is no room" in view._row._note.value
    assert not view._row.buttons["Look through"].disabled


async def test_the_answers_of_many_rows_come_when_they_are_counted(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ondine_nb.notebook.card.answers.QUICKLY", 20)
    opened(ended_run(reviews(60), tmp_path, failing=0))
    async with asyncio.timeout(PATIENCE):
        while "by chance" not in screen.shown[-1][0]["text/html"]:
            await asyncio.sleep(0.01)
    cards = [
        it[0]["text/html"] for it in screen.shown if "ondine-run" in it[0].get("text/html", "")
    ]
    assert "by chance" not in cards[0]
