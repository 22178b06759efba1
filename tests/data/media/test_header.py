"""A file is what its content says, whatever it is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.data.media.header import PICTURES, media_type_of, picture_size
from ondine_nb.errors import BrokenFileError

from .drawings import drawing, encoded, jpeg, pdf, png


@pytest.mark.parametrize(
    ("form", "media_type", "mode"),
    [
        ("PNG", "image/png", "RGB"),
        ("PNG", "image/png", "I;16"),
        ("JPEG", "image/jpeg", "L"),
        ("JPEG", "image/jpeg", "CMYK"),
        ("GIF", "image/gif", "P"),
        ("WEBP", "image/webp", "RGBA"),
        ("WEBP", "image/webp", "RGB"),
        ("BMP", "image/bmp", "RGB"),
        ("TIFF", "image/tiff", "RGB"),
        ("AVIF", "image/avif", "RGB"),
    ],
)
def test_the_type_is_told_by_the_content(form: str, media_type: str, mode: str) -> None:
    made = drawing(3, (61, 47), mode) if mode != "I;16" else drawing(3, (61, 47), "L").convert(mode)
    content = encoded(made, form)
    assert media_type_of(content) == media_type
    if media_type in PICTURES:
        assert picture_size(content, media_type) == (61, 47)


def test_a_lossless_webp_and_a_progressive_jpeg_have_their_size_read() -> None:
    image = drawing(3, (300, 17))
    assert picture_size(encoded(image, "WEBP", lossless=True), "image/webp") == (300, 17)
    assert picture_size(encoded(image, "JPEG", progressive=True), "image/jpeg") == (300, 17)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (pdf(), "application/pdf"),
        (b"\n" * 600 + pdf(), "application/pdf"),
        (b"only words", "text/plain"),
        ("Straße".encode(), "text/plain"),
        (b'<?xml version="1.0"?><svg xmlns="x"/>', "image/svg+xml"),
        (b"\0\1\2", "application/octet-stream"),
        (b"\xff\xfe\xfa", "application/octet-stream"),
        (b"BM are two letters", "text/plain"),
    ],
)
def test_documents_texts_and_what_nobody_knows(content: bytes, media_type: str) -> None:
    assert media_type_of(content) == media_type


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_was_cut_anywhere_is_broken(form: str) -> None:
    """A thumbnail inside, which has an end of its own, doesn't hide it."""
    thumbnail = encoded(drawing(1), "JPEG")
    exif = b"Exif\0\0" + thumbnail
    whole = encoded(drawing(3, (400, 300)), form, **({"exif": exif} if form == "JPEG" else {}))
    media_type = media_type_of(whole)
    assert picture_size(whole, media_type) == (400, 300)
    for end in range(12, len(whole) - 4, max(1, len(whole) // 97)):
        with pytest.raises(BrokenFileError, match="is cut or broken"):
            picture_size(whole[:end], media_type)


@given(
    st.sampled_from([png(), jpeg(), encoded(drawing(2), "WEBP"), encoded(drawing(2), "GIF")]),
    st.data(),
)
def test_whatever_bytes_are_damaged_it_is_a_size_or_a_named_error(
    whole: bytes, data: st.DataObject
) -> None:
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    media_type = media_type_of(bytes(content))
    if media_type in PICTURES:
        try:
            width, height = picture_size(bytes(content), media_type)
        except BrokenFileError:
            return
        assert width > 0
        assert height > 0
