"""What takes seconds to import, imported beside the cells that follow `%load_ext`.

By the time somebody has written a prompt, its first card shows at once and its first request goes
out without waiting for the SDK. A cell that is faster than that waits for what is left.
"""

from __future__ import annotations

import contextlib
import importlib
import threading

from ..options import DEFAULT_MODEL

__all__ = ["warm_up"]


def warm_up() -> threading.Thread:
    """Import in a thread, in the order in which a cell needs it; what fails, fails in the cell."""
    thread = threading.Thread(target=_import_all, name="ondine-warm-up", daemon=True)
    thread.start()
    return thread


def _import_all() -> None:
    for each in (_views, _prices, _sdk):
        with contextlib.suppress(Exception):
            each()


def _views() -> None:
    from .html import template

    for name in ("ondine_nb.pipeline", "ondine_nb.run", "ondine_nb.notebook.run_view"):
        importlib.import_module(name)
    importlib.import_module("ipywidgets")
    for name in ("card.html", "panel.html", "results.html"):
        template(name)


def _prices() -> None:
    from ..pricing import find_price

    find_price(DEFAULT_MODEL)


def _sdk() -> None:
    from ..providers.anthropic import sdk

    sdk()
    importlib.import_module("aiohttp")
