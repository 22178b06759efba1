"""Everything public says what it is: the reference is made of nothing else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest

import ondine_nb

MODULES = ["ondine_nb"] + [
    info.name for info in pkgutil.walk_packages(ondine_nb.__path__, "ondine_nb.", onerror=print)
]


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
        made_by = getattr(member, "fget", None) or getattr(member, "func", member)
        ours = getattr(made_by, "__module__", "") or ""
        kind = isinstance(member, property | cached_property) or inspect.isroutine(member)
        if kind and not name.startswith("_") and ours.startswith("ondine_nb"):
            yield name, member


@pytest.mark.parametrize("module", MODULES)
def test_a_module_and_all_that_it_exports_have_a_docstring(module: str) -> None:
    assert (importlib.import_module(module).__doc__ or "").strip()
    assert [name for name, thing in public(module) if not said_of(thing)] == []


@pytest.mark.parametrize("module", MODULES)
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
