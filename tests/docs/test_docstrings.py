"""Everything public says what it is: the reference is made of nothing else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import ondine_nb

MODULES = [
    info.name for info in pkgutil.walk_packages(ondine_nb.__path__, "ondine_nb.", onerror=print)
]
# What users and writers of stages, observers and providers hold in their hands.
FACE = (
    "ondine_nb",
    "ondine_nb.contracts",
    "ondine_nb.errors",
    "ondine_nb.frames",
    "ondine_nb.models",
    "ondine_nb.notebook.panel",
    "ondine_nb.options",
    "ondine_nb.orchestration",
    "ondine_nb.pricing",
    "ondine_nb.providers",
    "ondine_nb.rows",
    "ondine_nb.schemas",
    "ondine_nb.spending",
    "ondine_nb.stages",
)


def said_of(thing: Any) -> str:
    """Its own docstring; "" for the signature that a dataclass writes for itself."""
    text = inspect.getdoc(thing) or ""
    return "" if text.startswith(f"{getattr(thing, '__name__', '')}(") else text


def public(module: str) -> Iterator[tuple[str, Any]]:
    """The classes and functions in a module's `__all__`."""
    loaded = importlib.import_module(module)
    for name in getattr(loaded, "__all__", ()):
        thing = getattr(loaded, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            yield f"{module}.{name}", thing


def members(thing: Any) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class, those of its bases in the package included."""
    for name, member in inspect.getmembers(thing):
        ours = getattr(getattr(member, "fget", member), "__module__", "") or ""
        kind = isinstance(member, property) or inspect.isroutine(member)
        if kind and not name.startswith("_") and ours.startswith("ondine_nb"):
            yield name, member


@pytest.mark.parametrize("module", MODULES)
def test_a_module_and_all_that_it_exports_have_a_docstring(module: str) -> None:
    assert (importlib.import_module(module).__doc__ or "").strip()
    assert [name for name, thing in public(module) if not said_of(thing)] == []


@pytest.mark.parametrize("module", FACE)
def test_every_public_method_and_property_has_a_docstring(module: str) -> None:
    silent = [
        f"{name}.{member}"
        for name, thing in public(module)
        if inspect.isclass(thing)
        for member, value in members(thing)
        if not inspect.getdoc(value)
    ]
    assert silent == []


def test_this_test_sees_methods_and_properties() -> None:
    seen = dict(members(ondine_nb.Run))
    assert {"costs", "retry_failed", "start"} <= set(seen)
    assert not said_of(type("Bare", (), {"__doc__": "Bare(x: int)"}))
