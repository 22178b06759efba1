"""Opens the pictures of a card in full: it is HTML, so a live view without a face listens to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ..ui import LiveView, Pictures

__all__ = ["CardPictures"]


class CardPictures(LiveView):
    """Shows nothing itself until a picture of the card in the same output is clicked.

    `run_of` gives the run that the card is of now: a retry takes its place.
    """

    module: ClassVar[str] = "card/pictures.js"
    sheet: ClassVar[str] = "card/pictures.css"

    def __init__(self, run_of: Callable[[], Any]) -> None:
        super().__init__()
        self._run_of = run_of

    @property
    def actions(self) -> Mapping[str, Callable[..., Any]]:
        known = Pictures.of(self._run_of().pipeline)
        return {} if known is None else known.actions

    def state(self) -> dict[str, Any]:
        return {"name": self._run_of().name}

    def static(self) -> str:
        return ""

    def plain(self) -> str:
        return ""
