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
    formatter = shell.display_formatter.mimebundle_formatter
    formatter.for_type_by_name("ondine_nb.run", "Run", _show_run)
    completer = getattr(shell, "Completer", None)
    if completer is not None:
        completer.custom_matchers.append(magics.matcher())


def _show_run(run: Any, **_: Any) -> dict[str, Any]:
    from .run_view import mimebundle

    return dict(mimebundle(run))
