"""What a cell names is read by its form, known by its bytes, and refused by a named error."""

from __future__ import annotations

import base64
import hashlib
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ondine_nb.data import Media, MediaReader
from ondine_nb.errors import (
    BrokenFileError,
    ChangedFileError,
    EmptyFileError,
    MediaError,
    MissingFileError,
    TooLargeFileError,
    UnsupportedFileError,
)

from .drawings import drawing, encoded, jpeg, pdf, png, saved


def one(value: Any, form: str = "image", folder: Path | None = None) -> Media:
    (part,) = MediaReader(folder)(form, value)
    assert isinstance(part, Media)
    return part


def pixels(media: Media) -> Any:
    import io

    return np.asarray(Image.open(io.BytesIO(media.load()[1])))


def refused(value: Any, form: str = "image", folder: Path | None = None) -> str:
    with pytest.raises(MediaError) as caught:
        MediaReader(folder)(form, value)
    return str(caught.value)


# -- values


def test_a_path_bytes_and_what_lists_and_structs_have_of_them_are_one_picture(
    tmp_path: Path,
) -> None:
    content = jpeg(7)
    path = saved(tmp_path, "ein Foto 📷.jpg", content)
    values: list[Any] = [
        str(path),
        path,
        path.name,
        content,
        bytearray(content),
        memoryview(content),
        [path],
        {"bytes": content, "path": "elsewhere.jpg"},
        {"bytes": None, "path": str(path)},
        "data:image/jpeg;base64," + base64.b64encode(content).decode(),
        Image.open(path),
        np.array([content], dtype=object),
        pl.Series([content]),
        pd.Series([str(path)]),
    ]
    found = [one(value, "images", tmp_path) for value in values]
    assert {media.sha256 for media in found} == {hashlib.sha256(content).hexdigest()}
    assert {media.key_bytes for media in found} == {found[0].key_bytes}
    assert {media.load() for media in found} == {("image/jpeg", content)}
    assert found[0].text == "[image ein Foto 📷.jpg, 48 × 32]"


def test_relative_paths_begin_at_the_working_directory_and_a_tilde_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, "a.png", png())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert one("a.png").sha256 == one("~/a.png").sha256 == one(Path("a.png")).sha256


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", png())
    (tmp_path / "link").symlink_to(path)
    assert one("link", folder=tmp_path).sha256 == one(path).sha256


@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA", "1", "I;16", "P", "CMYK"])
def test_an_image_is_sent_as_png_with_its_own_pixels(kind: str) -> None:
    image = drawing(9).convert("L" if kind == "I;16" else "RGB").convert(kind)
    media = one(image)
    assert media.media_type == "image/png"
    shown = image.convert("RGB") if kind in ("P", "CMYK") else image
    assert np.array_equal(pixels(media), np.asarray(shown))


def test_an_image_stands_upright_as_its_exif_says() -> None:
    image = drawing(9)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right
    turned = Image.open(__import__("io").BytesIO(encoded(image, "PNG", exif=exif)))
    turned.load()
    media = one(turned)
    assert (media.width, media.height) == (image.height, image.width)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(48, dtype=np.uint8).reshape(6, 8),
        np.arange(48, dtype=np.uint8).reshape(6, 8, 1),
        np.arange(144, dtype=np.uint8).reshape(6, 8, 3),
        np.arange(192, dtype=np.uint8).reshape(6, 8, 4),
        np.arange(48, dtype=np.int64).reshape(6, 8),
        (np.arange(48, dtype=np.uint16) * 1_000).reshape(6, 8),
    ],
)
def test_an_array_of_pixels_is_sent_as_it_is(array: Any) -> None:
    media = one(array)
    assert (media.width, media.height) == (8, 6)
    assert np.array_equal(pixels(media), array.squeeze())
    if array.max() < 256:  # as frames may have it: in lists
        assert one(array.tolist()).sha256 == media.sha256
        assert [it.sha256 for it in MediaReader()("images", [array.tolist()] * 2)] == [  # type: ignore[union-attr]
            media.sha256
        ] * 2


def test_floats_from_0_to_1_and_booleans_are_pixels_too() -> None:
    assert pixels(one(np.array([[0.0, 0.5, 1.0]]))).tolist() == [[0, 128, 255]]
    assert pixels(one(np.array([[True, False]]))).tolist() == [[255, 0]]


def test_a_figure_is_drawn() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([1, 3, 2])
    assert (one(figure).width, one(figure).height) == (100, 50)
    assert one(figure).sha256 == one(figure).sha256


def test_a_url_is_handed_on_and_never_fetched() -> None:
    picture = one("https://example.org/a/photo.jpg?size=1")
    document = one(" https://example.org/terms.PDF ", "file")
    assert (picture.kind, picture.url) == ("image", "https://example.org/a/photo.jpg?size=1")
    assert (document.kind, document.url) == ("document", "https://example.org/terms.PDF")
    assert one("https://example.org/x", "pdf").kind == "document"
    assert picture.text == "[image photo.jpg]"
    assert "login" in refused("https://user:secret@example.org/a.png")
    assert "secret" not in refused("https://user:secret@example.org/a.png")
    assert "no URL" in refused("https://")


def test_a_file_is_taken_by_its_content(tmp_path: Path) -> None:
    assert one(png(), "file").kind == "image"
    assert one(pdf(), "file").kind == "document"
    assert MediaReader()("file", b"\xef\xbb\xbfHello, Stra\xc3\x9fe") == ("Hello, Straße",)
    several = [pdf(), None, png(), b"and words"]
    kinds = [getattr(part, "kind", "text") for part in MediaReader()("file", several)]
    assert kinds == ["document", "image", "text"]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, [], [None]])
def test_nothing_is_no_part(missing: Any) -> None:
    assert MediaReader()("images", missing) == ()


# -- named errors


def test_each_thing_that_cannot_be_sent_has_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    saved(tmp_path, "empty.jpg", b"")
    saved(tmp_path, "cut.jpg", jpeg()[:300])
    saved(tmp_path, "words.png", b"only words")
    saved(tmp_path, "a.tif", encoded(drawing(1), "TIFF"))
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large.png").open("wb") as large:
        large.truncate(64_000_001)
    errors: list[tuple[Any, str, type[MediaError], str]] = [
        ("not there.png", "image", MissingFileError, "'not there.png' isn't there in"),
        ("", "image", MissingFileError, "path is empty"),
        ("a\0b", "image", MissingFileError, "can't be opened"),
        ("x" * 5_000, "image", MissingFileError, "can't be opened"),
        ("empty.jpg/a.png", "image", MissingFileError, "can't be opened"),
        ("folder", "image", MediaError, "'folder' is a folder"),
        ("pipe", "image", MediaError, "no file but a device, pipe or socket"),
        ("empty.jpg", "image", EmptyFileError, "'empty.jpg' is empty"),
        (b"", "image", EmptyFileError, "is empty"),
        ("cut.jpg", "image", BrokenFileError, "'cut.jpg' begins as JPEG and is cut or broken"),
        (pdf()[:400], "pdf", BrokenFileError, "begins as PDF and is cut"),
        ("words.png", "image", UnsupportedFileError, "'words.png' is text by its content"),
        ("a.tif", "image", UnsupportedFileError, "is TIFF by its content"),
        (b"<svg/>", "file", UnsupportedFileError, "save it as PNG"),
        (png(), "pdf", UnsupportedFileError, "write {…:image}"),
        (pdf(), "image", UnsupportedFileError, "write {…:pdf}"),
        (b"\0\1", "file", UnsupportedFileError, "is unknown by its content"),
        ("large.png", "image", TooLargeFileError, "64,000,001 bytes"),
        (b"a" * 2_000_001, "file", TooLargeFileError, "a text of 2,000,001 bytes"),
        ([png(), png()], "image", MediaError, "write {…:images} for a list"),
        ([pdf(), pdf()], "pdf", MediaError, "write {…:file} for a list"),
        (3, "image", MediaError, "a value of type int is no picture"),
        (np.zeros((2, 2, 2, 2)), "image", MediaError, "an array of shape (2, 2, 2, 2)"),
        (np.zeros((0, 2)), "image", MediaError, "has no pixels"),
        (np.array([[-3.0, 400.0]]), "image", MediaError, "from -3.0 to 400.0"),
        ([[1, 2], [3]], "image", MediaError, "rows of pixels of different lengths"),
        ("data:image/png,abc", "image", MediaError, "no data URL in base64"),
    ]
    for value, form, kind, words in errors:
        with pytest.raises(MediaError) as caught:
            MediaReader(tmp_path)(form, value)
        assert type(caught.value) is kind, caught.value
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_that_goes_or_changes_before_it_is_sent_is_an_error(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", png(1))
    media = one(path)
    path.write_bytes(png(2))
    with pytest.raises(ChangedFileError, match="was changed while the run"):
        media.load()
    path.unlink()
    with pytest.raises(MissingFileError, match="isn't there any more"):
        media.load()


# -- keys


def test_a_moved_file_is_known_and_a_changed_one_is_not(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", png(1))
    moved = saved(tmp_path, "other name.png", png(1))
    changed = saved(tmp_path, "b.png", png(2))
    assert one(path).key_bytes == one(moved).key_bytes != one(changed).key_bytes
    assert str(tmp_path).encode() not in one(path).key_bytes


def test_a_file_is_hashed_once_in_a_run_and_again_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, "a.png", png(1))
    reads: list[Path] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (reads.append(self), read_bytes(self))[1])
    reader = MediaReader(tmp_path)
    first = reader("image", "a.png")
    assert reader("image", "a.png") == first
    assert len(reads) == 1
    path.write_bytes(png(2))
    os.utime(path, ns=(1, 1))
    assert reader("image", "a.png") != first
    MediaReader(tmp_path)("image", "a.png")
    assert len(reads) == 3


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=4), st.text(max_size=30))
def test_no_two_contents_have_one_key(contents: list[bytes], url: str) -> None:
    made = [
        Media("image", "image/png", sha256=hashlib.sha256(each).hexdigest()) for each in contents
    ]
    made.append(Media("image", "image/*", url=f"https://x.org/{url}"))
    keys = {media.key_bytes for media in made}
    assert len(keys) == len({*contents}) + 1


def test_reading_keeps_no_bytes(tmp_path: Path) -> None:
    """200 files of 200 kB are 40 MB; what is known of them is far below one."""
    noise = np.random.default_rng(0).integers(0, 255, (250, 270, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), "PNG")
    paths = [saved(tmp_path, f"{at}.png", content + bytes([at])) for at in range(200)]
    reader = MediaReader()
    reader("image", paths[0])
    tracemalloc.start()
    try:
        held = [reader("image", path) for path in paths]
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(held) == 200
    assert kept < 1_000_000
    assert peak < 3 * len(content) + 1_000_000
