"""Thumbnails: what a file holds, a page gets pixels that were encoded anew, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from ondine_nb.data import cell_name, thumbnail
from ondine_nb.errors import MediaError

RED, BLUE = (220, 30, 30), (20, 40, 200)


def encoded(image: Image.Image, form: str, **how: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **how)
    return target.getvalue()


def halves(mode: str = "RGB", size: tuple[int, int] = (400, 200)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image.convert(mode)


def decoded(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def is_near(pixel: Any, color: tuple[int, ...], most: int = 40) -> bool:
    return all(abs(a - b) <= most for a, b in zip(pixel, color, strict=True))


@pytest.mark.parametrize(
    "content",
    [
        encoded(halves(), "JPEG"),
        encoded(halves("CMYK"), "JPEG"),
        encoded(halves(), "PNG"),
        encoded(halves("P"), "PNG"),
        encoded(halves("RGBA"), "WEBP"),
        encoded(halves(), "GIF", save_all=True, append_images=[Image.new("RGB", (400, 200))]),
    ],
    ids=["jpeg", "cmyk", "png", "palette", "webp", "gif"],
)
def test_each_format_keeps_its_colours_and_its_first_frame(content: bytes) -> None:
    made = thumbnail(content, 96)
    assert (made.width, made.height) == (96, 48)
    shown = decoded(made.content)
    assert is_near(shown.getpixel((10, 24)), RED)
    assert is_near(shown.getpixel((86, 24)), BLUE)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_it_stands_as_its_exif_says(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise by a quarter
    made = thumbnail(encoded(halves(), form, exif=exif), 96)
    assert (made.width, made.height) == (48, 96)
    assert is_near(decoded(made.content).getpixel((24, 10)), RED)
    assert not decoded(made.content).getexif()


def test_of_16_bits_the_darkest_is_black_and_the_brightest_white() -> None:
    grey = numpy.linspace(1_000, 5_000, 96 * 96).reshape(96, 96).astype("u2")
    shown = decoded(thumbnail(encoded(Image.fromarray(grey), "PNG"), 96).content)
    assert is_near(shown.getpixel((1, 1)), (0, 0, 0), 20)
    assert is_near(shown.getpixel((94, 94)), (255, 255, 255), 20)


def test_what_is_transparent_stands_on_paper() -> None:
    content = encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 0)), "PNG")
    assert is_near(decoded(thumbnail(content, 96).content).getpixel((9, 9)), (255, 255, 255), 6)


def test_no_picture_is_made_larger() -> None:
    made = thumbnail(encoded(halves(size=(30, 20)), "PNG"), 96)
    assert (made.width, made.height) == (30, 20)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([16, 96, 200]))
def test_it_is_never_wider_or_higher_than_was_asked(wide: int, high: int, side: int) -> None:
    made = thumbnail(encoded(halves(size=(wide, high)), "PNG"), side)
    assert 1 <= made.width <= side
    assert 1 <= made.height <= side
    assert decoded(made.content).size == (made.width, made.height)


def test_a_small_one_is_small_whatever_the_picture() -> None:
    noise = numpy.random.default_rng(0).integers(0, 255, (1_500, 2_000, 3), dtype="u1")
    content = encoded(Image.fromarray(noise), "JPEG", quality=95)
    assert len(content) > 2_000_000
    assert len(thumbnail(content, 96).content) < 8_000


@pytest.mark.parametrize(
    "content",
    [b"", b"a text", b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", b"BM"],
    ids=["empty", "text", "svg", "bmp"],
)
def test_what_models_do_not_take_is_not_decoded(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"no picture"):
        thumbnail(content, 96)


def test_one_that_was_cut_says_so_in_a_line() -> None:
    with pytest.raises(ValueError, match="can't be decoded") as caught:
        thumbnail(encoded(halves(size=(800, 600)), "JPEG")[:2_000], 96)
    assert "\n" not in str(caught.value)


def test_one_of_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ondine_nb.data.media.thumbnails.MOST_PIXELS", 50_000)
    with pytest.raises(ValueError, match="400 × 200 px are too many"):
        thumbnail(encoded(halves(), "PNG"), 96)


def test_nothing_of_a_file_but_its_pixels_is_in_it() -> None:
    """Neither a comment nor what stands behind the end, be it a script."""
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", "<script>alert(1)</script>")
    content = encoded(halves(), "PNG", pnginfo=told) + b"<script>alert(2)</script>"
    made = thumbnail(content, 96)
    assert b"script" not in made.content
    assert made.url.startswith("data:image/jpeg;base64,/9j/")


def pdf(*sizes: tuple[int, int]) -> bytes:
    import pypdfium2

    document = pypdfium2.PdfDocument.new()
    for size in sizes:
        document.new_page(*size).close()
    target = io.BytesIO()
    document.save(target)
    document.close()
    return target.getvalue()


def test_of_a_pdf_it_is_a_page() -> None:
    content = pdf((200, 100), (100, 200))
    first, second = thumbnail(content, 96), thumbnail(content, 96, page=1)
    assert (first.width, first.height) == (96, 48)
    assert (second.width, second.height) == (48, 96)
    with pytest.raises(MediaError, match="page"):
        thumbnail(content, 96, page=2)


def test_a_media_cell_is_called_by_what_is_known_of_it_at_once() -> None:
    assert cell_name("photos/a b 🧾.png") == "photos/a b 🧾.png"
    assert cell_name(Path("photos") / "a.png") == str(Path("photos") / "a.png")
    assert cell_name(b"12345") == "5 bytes"
    assert cell_name(halves()) == "400 × 200 px"
    assert cell_name(numpy.zeros((20, 30, 3))) == "30 × 20 px"
    assert cell_name(["a.png", b"1"]) == "a.png · 1 bytes"
    assert cell_name({"bytes": b"12", "path": None}) == "2 bytes"
    assert cell_name("data:image/png;base64,AAAA") == "data:image/png;base64,…"
    assert cell_name(None) == "" == cell_name(float("nan"))
    assert cell_name(object()) == "object"
