"""The Chromium that tests and pictures are made with: whichever is installed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.patience import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, BrowserType

__all__ = ["kept", "launched"]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
)
# The first one has no toolbar, which costs others a second of CPU a page.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """A browser without a window. Raises `FileNotFoundError` where none is installed."""
    with _chromium() as (chromium, options), chromium.launch(**options) as browser:
        yield browser


@contextlib.contextmanager
def kept(profile: Path) -> Iterator[BrowserContext]:
    """The same with a folder for its cache, compiled scripts included, which others don't keep."""
    with (
        _chromium() as (chromium, options),
        chromium.launch_persistent_context(profile, **options) as context,
    ):
        yield context


@contextlib.contextmanager
def _chromium() -> Iterator[tuple[BrowserType, dict[str, Any]]]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE * 1000)
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise FileNotFoundError(f"no Chromium on PATH ({', '.join(BROWSERS)})")
    with sync_playwright() as playwright:
        options = {"executable_path": path, "args": list(FLAGS), "timeout": PATIENCE * 1000}
        yield playwright.chromium, options
