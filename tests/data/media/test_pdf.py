"""PDFs: pages and text counted, pages rendered and cut out, from any thread; broken ones named."""

from __future__ import annotations

import builtins
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ondine_nb.data.media.pdf import page_as_pdf, page_as_picture, pages_in, pdf_of, split_page
from ondine_nb.errors import (
    BrokenFileError,
    ConfigurationError,
    EmptyFileError,
    UnsupportedFileError,
)
from tests.data.media.files import encrypted_pdf, pdf

LONG = pdf([f"Page {number} of a contract" for number in range(1, 301)])


def test_a_pdf_of_300_pages_tells_how_many_and_how_much_text() -> None:
    told = pdf_of(LONG)
    assert told.pages == 300
    assert told.text_bytes == sum(len(f"Page {n} of a contract") for n in range(1, 301))


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (encrypted_pdf(), BrokenFileError, "encrypted"),
        (b"%PDF-1.7\nnothing of it", BrokenFileError, "broken"),
        (b"", EmptyFileError, "0 bytes"),
        (pdf([]), BrokenFileError, "broken"),  # it has no page
    ],
)
def test_what_cant_be_opened_is_named(content: bytes, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        pdf_of(content)


def test_a_page_is_rendered_with_its_longer_side_as_asked() -> None:
    image = Image.open(io.BytesIO(page_as_picture(pdf(["a", "b"], size=(300, 600)), 2, 500)))
    assert (image.format, image.size) == ("PNG", (250, 500))
    assert image.convert("L").getextrema()[0] < 128  # something is written on it


def test_a_page_is_cut_out_with_its_own_text() -> None:
    assert pdf_of(page_as_pdf(pdf(["short", "rather longer"]), 2)).text_bytes == len(
        "rather longer"
    )


def test_a_page_that_isnt_there_is_named() -> None:
    for made in (page_as_pdf, lambda content, page: page_as_picture(content, page, 100)):
        with pytest.raises(UnsupportedFileError, match="no page 3: it is a PDF of 2 pages"):
            made(pdf(["a", "b"]), 3)


@pytest.mark.slow
def test_many_threads_may_ask_at_once() -> None:
    some = pdf([f"page {number}" for number in range(1, 31)])

    def all_of_it(at: int) -> tuple[int, int]:
        page_as_picture(some, at, 200)
        return pdf_of(some).pages, pdf_of(page_as_pdf(some, at)).pages

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(all_of_it, range(1, 31))) == {(30, 1)}


def test_a_path_may_name_a_page(tmp_path: Path) -> None:
    assert split_page("contracts/a b.pdf#page=12", tmp_path) == ("contracts/a b.pdf", 12)
    for path in ("a.pdf", "a.pdf#page=0", "a.pdf#page=x", "a#page=1.pdf"):
        assert split_page(path, tmp_path) == (path, None)
    odd = tmp_path / "a.pdf#page=2"
    odd.write_bytes(pdf())
    assert split_page(odd.name, tmp_path) == (odd.name, None)
    assert pages_in(odd) == 1


def test_without_pypdfium2_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "pypdfium2":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"pypdfium2: pip install 'ondine-nb\[media\]'"):
        pdf_of(pdf())
