"""What is said where a library of the extra `media` is needed and isn't installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

from ...errors import ConfigurationError

__all__ = ["is_installed", "needs_extra"]


@cache
def is_installed(library: str) -> bool:
    """Whether a library can be imported; it isn't."""
    return find_spec(library) is not None


@contextmanager
def needs_extra(what: str) -> Iterator[None]:
    """Turns an ImportError inside into a `ConfigurationError` that names the extra."""
    try:
        yield
    except ImportError as error:
        library = {"PIL": "Pillow"}.get(error.name or "", error.name)
        raise ConfigurationError(
            f"{what} needs {library}: pip install 'ondine-nb[media]'"
        ) from error
