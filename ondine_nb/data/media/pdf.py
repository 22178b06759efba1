"""PDFs by pypdfium2: pages counted, their text, one page as a picture or as a PDF of its own.

pypdfium2 isn't thread-safe, so one lock is around every call. What is opened is closed in the block
that opened it: left to the garbage collector it would be closed without the lock.
"""

from __future__ import annotations

import io
import math
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BrokenFileError, EmptyFileError, UnsupportedFileError
from .needs import needs_extra

__all__ = ["Pdf", "page_as_pdf", "page_as_picture", "page_size", "pages_in", "pdf_of", "split_page"]

_LOCK = threading.Lock()
_PAGE = re.compile(r"#page=([1-9]\d{0,6})\Z")
_WRONG_PASSWORD = 4  # of pdfium's errors


@dataclass(frozen=True, slots=True)
class Pdf:
    """What a PDF says of itself: how many pages it has, and the UTF-8 bytes of all their text."""

    pages: int
    text_bytes: int


def split_page(path: str, folder: Path) -> tuple[str, int | None]:
    """`a.pdf#page=3` as path and number of the page, from 1; None where it names none.

    A file that is really called so is a path; relative ones begin at `folder`.
    """
    found = _PAGE.search(path)
    if found is None or os.path.lexists(folder / os.path.expanduser(path)):
        return path, None
    return path[: found.start()], int(found[1])


def pdf_of(content: bytes) -> Pdf:
    """Pages and text of a PDF. Raises `BrokenFileError` (encrypted too), `EmptyFileError`."""
    with _opened(content) as document:
        with _LOCK:
            pages = len(document)
        return Pdf(pages, sum(_text_bytes(document, at) for at in range(pages)))


def pages_in(path: Path) -> int:
    """How many pages a PDF has. Raises as `pdf_of`, and `OSError` where it can't be read."""
    with _opened(path.read_bytes()) as document, _LOCK:
        return len(document)


def page_as_picture(content: bytes, page: int, px: int) -> bytes:
    """A page, from 1, as a PNG whose longer side has `px` pixels. Raises as `pdf_of`."""
    with needs_extra("rendering a page"):
        import PIL.Image  # noqa: F401 - what `to_pil` imports, with a name for what is missing
    with _opened(content) as document, _LOCK, _page(document, page) as opened:
        scale = px / max(1.0, *opened.get_size())
        bitmap = opened.render(scale=scale)
        try:
            image = bitmap.to_pil().copy()
        finally:
            bitmap.close()
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


def page_size(content: bytes, page: int, px: int) -> tuple[int, int]:
    """Width and height in pixels of `page_as_picture`. Raises as `pdf_of`."""
    with _opened(content) as document, _LOCK, _page(document, page) as opened:
        width, height = opened.get_size()
    scale = px / max(1.0, width, height)
    return max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale))


def page_as_pdf(content: bytes, page: int) -> bytes:
    """A page, from 1, as a PDF with nothing else in it. Raises as `pdf_of`."""
    with needs_extra("a PDF"):
        import pypdfium2

    target = io.BytesIO()
    with _opened(content) as document, _LOCK:
        _check_page(document, page)
        alone = pypdfium2.PdfDocument.new()
        try:
            alone.import_pages(document, [page - 1])
            alone.save(target)
        finally:
            alone.close()
    return target.getvalue()


@contextmanager
def _opened(content: bytes) -> Iterator[Any]:
    """The document, open. Nobody may hold the lock at the end."""
    with needs_extra("a PDF"):
        import pypdfium2
    if not content:
        raise EmptyFileError("is empty: 0 bytes")
    try:
        with _LOCK:
            document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _WRONG_PASSWORD:
            raise BrokenFileError("is an encrypted PDF: save a copy without its password") from None
        raise BrokenFileError("is a broken PDF, which can't be opened") from None
    try:
        yield document
    except pypdfium2.PdfiumError as error:
        raise BrokenFileError(f"is a PDF with a page that can't be read ({error})") from None
    finally:
        with _LOCK:
            document.close()


@contextmanager
def _page(document: Any, page: int) -> Iterator[Any]:
    """A page, from 1; the lock is held."""
    _check_page(document, page)
    opened = document[page - 1]
    try:
        yield opened
    finally:
        opened.close()


def _check_page(document: Any, page: int) -> None:
    if not 1 <= page <= len(document):
        raise UnsupportedFileError(f"has no page {page}: it is a PDF of {len(document)} pages")


def _text_bytes(document: Any, at: int) -> int:
    with _LOCK, _page(document, at + 1) as page:
        text = page.get_textpage()
        try:
            return len(text.get_text_bounded().encode("utf-8", "replace"))
        finally:
            text.close()
