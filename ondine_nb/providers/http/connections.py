"""The connections under an SDK: its aiohttp client, bounded, and checked by certificates."""

from __future__ import annotations

import importlib
import os
from functools import cache
from typing import Any

from ...errors import ConfigurationError
from .bounded import ENCODINGS, guard

__all__ = ["CONNECTING", "connections", "time_bounds"]

# The share of an attempt's time that it may take to connect: if that fails, nothing was sent.
CONNECTING = 0.9


def time_bounds(seconds: float) -> Any:
    """How long an attempt may take as a whole, and its connecting, as the SDKs take it."""
    return importlib.import_module("httpx2").Timeout(seconds, connect=seconds * CONNECTING)


def connections(sdk: Any, bounds: Any, most: int) -> Any:
    """A client over `most` connections at a time, of the aiohttp kind that the module `sdk` has.

    Raises `ConfigurationError` where the certificates can't be read, and what the SDK raises.
    """
    limits = importlib.import_module("httpx2").Limits(
        max_connections=most, max_keepalive_connections=most
    )
    return sdk.DefaultAioHttpClient(
        limits=limits,
        timeout=bounds,
        verify=_certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        headers={"Accept-Encoding": ENCODINGS},
        event_hooks={"response": [guard]},
    )


@cache
def _certificates(file: str | None, folder: str | None) -> Any:
    """What a server's certificate is checked by, read once a process: each time takes 30 ms."""
    try:
        return importlib.import_module("httpx2").create_ssl_context()
    except OSError as error:  # not there, or no certificate
        name, value = ("SSL_CERT_FILE", file) if file else ("SSL_CERT_DIR", folder)
        raise ConfigurationError(
            f"the certificates of {name}={value!r} can't be read ({error}). Correct or unset it"
        ) from error
