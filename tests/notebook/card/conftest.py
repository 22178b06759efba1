"""A notebook that keeps what is displayed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ipywidgets
import pytest

from ondine_nb.notebook.card import widgets as card_widgets
from ondine_nb.notebook.ui import display as displays


class Screen:
    """What was displayed, in order: (bundle, display id, whether it is an update)."""

    def __init__(self) -> None:
        self.shown: list[tuple[dict[str, Any], str, bool]] = []

    def publish(
        self, data: dict[str, Any], transient: dict[str, str], update: bool = False
    ) -> None:
        self.shown.append((data, transient["display_id"], update))

    @property
    def display_pub(self) -> Screen:
        return self

    kernel = "a kernel"
    execution_count = 3

    def get_parent(self) -> dict[str, Any]:
        return {"metadata": {"cellId": "a cell"}}


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """A notebook: a kernel is there, and what is displayed is kept."""
    screen = Screen()
    monkeypatch.setattr(displays, "_shell", lambda: screen)
    monkeypatch.setattr(card_widgets, "DOUBLE_CLICK", 0.0)
    yield screen
    ipywidgets.Widget.close_all()
