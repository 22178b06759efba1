"""Jupyter and IPython: cell and line magics, live views. The only folder that knows IPython."""

from __future__ import annotations

import contextlib
import importlib
import threading
from typing import Any

from ..pipeline import DEFAULT_MODEL

__all__ = ["load", "warm_up"]


def load(shell: Any) -> None:
    """Register the magics, the rewrite of `%%ondine` to `await`, and how a `Run` shows itself."""
    from . import input_transform
    from .magics import OndineMagics

    if "OndineMagics" in shell.magics_manager.registry:
        return  # %load_ext twice, or %reload_ext
    magics = OndineMagics(shell)
    shell.register_magics(magics)
    shell.configurables.append(magics)
    input_transform.install(shell)
    formatter = shell.display_formatter
    formatter.mimebundle_formatter.for_type_by_name("ondine_nb.pipeline.run", "Run", _show_run)
    formatter.ipython_display_formatter.for_type_by_name(
        "ondine_nb.pipeline.run", "Run", _show_live
    )
    completer = getattr(shell, "Completer", None)
    if completer is not None:
        completer.custom_matchers.append(magics.matcher())
    if hasattr(shell, "kernel"):  # a terminal has its cells typed in, and waits for nothing
        warm_up()


def _show_live(run: Any) -> None:
    """A run that goes on shows itself live; else `_show_run` is asked."""
    from IPython import get_ipython
    from IPython.core.displaypub import CapturingDisplayPublisher

    from .card import shows_live

    shell: Any = get_ipython()
    captured = isinstance(shell.display_pub, CapturingDisplayPublisher)
    if captured or not shows_live(run):
        raise NotImplementedError


def _show_run(run: Any, **_: Any) -> dict[str, Any]:
    from .card import mimebundle

    return dict(mimebundle(run))


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
    from . import card  # noqa: F401 - with pipeline and run
    from .ui import template

    importlib.import_module("ipywidgets")
    for name in ("card/card.html", "workbench/panel.html", "results/results.html"):
        template(name)


def _prices() -> None:
    from ..providers import find_price

    find_price(DEFAULT_MODEL)


def _sdk() -> None:
    from ..providers.anthropic import sdk

    sdk()
    importlib.import_module("aiohttp")
