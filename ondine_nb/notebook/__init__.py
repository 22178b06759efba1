"""The notebook's side: cell and line magics, live views. The only folder that knows IPython."""

from __future__ import annotations

from typing import Any

__all__ = ["load"]


def load(shell: Any) -> None:
    """Register the magics, the rewrite of `%%ondine` to `await`, and how a `Run` shows itself."""
    from . import cell
    from .magics import OndineMagics

    if "OndineMagics" in shell.magics_manager.registry:
        return  # %load_ext twice, or %reload_ext
    magics = OndineMagics(shell)
    shell.register_magics(magics)
    shell.configurables.append(magics)
    cell.install(shell)
    formatter = shell.display_formatter
    formatter.mimebundle_formatter.for_type_by_name("ondine_nb.run", "Run", _show_run)
    formatter.ipython_display_formatter.for_type_by_name("ondine_nb.run", "Run", _show_live)
    completer = getattr(shell, "Completer", None)
    if completer is not None:
        completer.custom_matchers.append(magics.matcher())
    if hasattr(shell, "kernel"):  # a terminal has its cells typed in, and waits for nothing
        from .warming import warm_up

        warm_up()


def _show_live(run: Any) -> None:
    """A run that goes on shows itself live; else `_show_run` is asked."""
    from IPython import get_ipython
    from IPython.core.displaypub import CapturingDisplayPublisher

    from .run_view import shows_live

    shell: Any = get_ipython()
    captured = isinstance(shell.display_pub, CapturingDisplayPublisher)
    if captured or not shows_live(run):
        raise NotImplementedError


def _show_run(run: Any, **_: Any) -> dict[str, Any]:
    from .run_view import mimebundle

    return dict(mimebundle(run))
