"""Makes ipywidgets so that they share what they look alike in: half of the messages.

Every widget of ipywidgets has a layout and a style, which are widgets too, each opened by a
message of its own. Our views are laid out by their style sheets, so one of each does for all.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Kit"]


class Kit:
    """`kit.Button(…)` is `ipywidgets.Button(…)` with the kit's layout and its style for buttons.

    A widget that is to be hidden by itself has `own=True`: a layout of its own. One kind takes its
    style from the first of its kind.
    """

    def __init__(self) -> None:
        import ipywidgets

        self._kinds: Any = ipywidgets
        self._layout: Any = ipywidgets.Layout()
        self._styles: dict[str, Any] = {}

    def __getattr__(self, kind: str) -> Any:
        def make(*args: Any, own: bool = False, **given: Any) -> Any:
            if not own:
                given.setdefault("layout", self._layout)
            if kind in self._styles:
                given["style"] = self._styles[kind]
            made = getattr(self._kinds, kind)(*args, **given)
            if made.has_trait("style"):
                self._styles.setdefault(kind, made.style)
            return made

        return make
