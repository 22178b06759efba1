"""Run a language model over every row of a DataFrame, from a notebook.

    %load_ext ondine_nb

    %%ondine labeled -i reviews --schema "sentiment: positive|negative|neutral" --budget 2
    How does the writer of this review feel? {text}

In scripts: `Pipeline(frame, prompt, schema=..., budget=2).execute().data`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .notebook.comparison.compare import compare
    from .notebook.results import show
    from .notebook.workbench.panel import panel
    from .pipeline import Pipeline, Run, costs, labels

__all__ = [
    "Pipeline",
    "Run",
    "__version__",
    "compare",
    "costs",
    "labels",
    "load_ipython_extension",
    "panel",
    "show",
]

__version__ = "0.1.0"

_HOMES = {
    "Pipeline": "pipeline",
    "Run": "pipeline",
    "compare": "notebook.comparison",
    "costs": "pipeline",
    "labels": "pipeline",
    "panel": "notebook.workbench",
    "show": "notebook.results",
}


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: what it offers is imported on first use, from `homes[name]`.

    `import ondine_nb` costs next to nothing, and `%load_ext` a tenth of what all of it would take.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{homes[name]}", package), name)
        vars(sys.modules[package])[name] = value
        return value

    return get


__getattr__: Callable[[str], Any] = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(ipython: Any) -> None:
    """What `%load_ext ondine_nb` calls: registers `%%ondine` and `%ondine`."""
    from .notebook import load

    load(ipython)
