"""What a cell leads to is known by its hash and its scaling, and sent as the model looks at it."""

from __future__ import annotations

import gc
import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ondine_nb.data.media import fetch, reader
from ondine_nb.data.media.media import Media
from ondine_nb.data.media.reader import MediaReader
from ondine_nb.errors import (
    BrokenFileError,
    ChangedFileError,
    ConfigurationError,
    MissingFileError,
    UnsupportedFileError,
)
from ondine_nb.models import PictureLimits
from ondine_nb.providers import MediaRules
from tests.data.media.files import encrypted_pdf, pdf, picture

SMALL = MediaRules(PictureLimits(32))
ROOMY = MediaRules(PictureLimits(2_000))


def media_of(reader: MediaReader, value: Any, form: str = "image") -> Media:
    (part,) = reader(form, value)
    assert isinstance(part, Media)
    return part


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(picture((640, 480)))
    (tmp_path / "c.pdf").write_bytes(pdf(["one", "page two", "three"], size=(300, 600)))
    return tmp_path


def test_the_scaling_is_in_the_key_and_the_path_isnt(folder: Path) -> None:
    as_it_is = media_of(MediaReader(folder, measures=ROOMY), "a.png")
    scaled = media_of(MediaReader(folder, measures=SMALL), "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes())
    moved = media_of(MediaReader(folder, measures=SMALL), "b.png")
    assert as_it_is.scaling == ""
    assert scaled.scaling == "32 × 24"
    assert as_it_is.key_bytes != scaled.key_bytes == moved.key_bytes
    assert as_it_is.load() == ("image/png", (folder / "a.png").read_bytes())
    kind, content = scaled.load()
    assert (kind, Image.open(io.BytesIO(content)).size) == ("image/png", (32, 24))


def test_its_tokens_are_those_of_what_is_sent(folder: Path) -> None:
    as_it_is = media_of(MediaReader(folder, measures=ROOMY), "a.png")
    scaled = media_of(MediaReader(folder, measures=SMALL), "a.png")
    assert (as_it_is.likely, as_it_is.size) == (
        ROOMY.picture(640, 480), ROOMY.most_of_picture(640, 480)
    )  # fmt: skip
    assert (scaled.likely, scaled.size) == (SMALL.picture(32, 24), SMALL.most_of_picture(32, 24))
    whole = media_of(MediaReader(folder, measures=ROOMY), "c.pdf", "pdf")
    text = len("onepage twothree")
    assert (whole.pages, whole.size) == (3, ROOMY.most_of_document(3, text))
    assert media_of(MediaReader(folder), "a.png").size >= 1_000_000  # nobody has measured it
    assert media_of(MediaReader(folder, measures=ROOMY), "https://example.org/a.png").size >= 4_784


def test_a_page_is_sent_alone_as_a_pdf_or_drawn(folder: Path) -> None:
    reading = MediaReader(folder, measures=ROOMY)
    alone = media_of(reading, "c.pdf#page=2", "pdf")
    assert (alone.kind, alone.pages, alone.size) == (
        "document", 1, ROOMY.most_of_document(1, len("page two"))
    )  # fmt: skip
    kind, content = alone.load()
    assert (kind, content[:5]) == ("application/pdf", b"%PDF-")
    drawn = media_of(reading, "c.pdf#page=2")
    assert (drawn.kind, drawn.width, drawn.height) == ("image", 1_000, 2_000)
    kind, content = drawn.load()
    assert (kind, Image.open(io.BytesIO(content)).size) == ("image/png", (1_000, 2_000))
    asked = (("", "pdf"), ("#page=1", "pdf"), ("#page=2", "pdf"), ("#page=2", "image"))
    keys = {media_of(reading, f"c.pdf{page}", form).key_bytes for page, form in asked}
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("value", "form", "error", "said"),
    [
        ("c.pdf#page=9", "pdf", UnsupportedFileError, "'c.pdf' has no page 9"),
        ("a.png#page=1", "image", UnsupportedFileError, "'a.png' is PNG and has no page 1"),
        ("c.pdf", "image", UnsupportedFileError, "#page=1"),
        (encrypted_pdf(), "pdf", BrokenFileError, "encrypted"),
        (b"%PDF-1.4\nwords\n%%EOF", "file", BrokenFileError, "broken PDF"),
    ],
)
def test_what_cant_be_sent_is_named(
    folder: Path, value: Any, form: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        MediaReader(folder, measures=ROOMY)(form, value)


def test_a_page_of_a_file_that_was_changed_meanwhile_isnt_sent(folder: Path) -> None:
    page = media_of(MediaReader(folder, measures=ROOMY), "c.pdf#page=2", "pdf")
    (folder / "c.pdf").write_bytes(pdf(["other", "words"]))
    with pytest.raises(ChangedFileError):
        page.load()


def test_without_pypdfium2_a_pdf_goes_uncounted_and_a_page_says_what_is_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "is_installed", lambda library: library == "PIL")
    whole = media_of(MediaReader(folder, measures=ROOMY), "c.pdf", "pdf")
    assert (whole.pages, whole.load()[1]) == (None, (folder / "c.pdf").read_bytes())
    assert whole.size > 1_000_000


def test_a_file_at_a_url_is_fetched_once_where_that_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def content_of(url: str, **_: Any) -> bytes:
        fetched.append(url)
        return (folder / "a.png").read_bytes()

    monkeypatch.setattr(fetch, "fetch", content_of)
    reading = MediaReader(folder, measures=SMALL, fetched=fetch.Fetched())
    url = "https://example.org/a.png?key=secret"
    first, again = media_of(reading, url), media_of(reading, url)
    assert first.key_bytes == media_of(reading, "a.png").key_bytes == again.key_bytes
    assert (first.url, first.name) == ("", "a.png")
    assert Image.open(io.BytesIO(first.load()[1])).size == (32, 24)
    assert fetched == [url]


def test_what_is_kept_of_fetched_files_is_bounded_and_gone_at_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "fetch", lambda url, **_: url.encode() * 1_000)
    monkeypatch.setattr(fetch, "_MOST_KEPT", 40_000)
    kept = fetch.Fetched()
    assert [len(kept.read(f"http://example.org/{at}")) for at in range(9)] == [20_000] * 9
    place = Path(kept._folder.name)  # type: ignore[union-attr]
    assert len(os.listdir(place)) == 2
    assert kept.read("http://example.org/0") == b"http://example.org/0" * 1_000
    del kept
    gc.collect()
    assert not place.exists()


def test_a_private_address_in_a_cell_is_the_rows_error(folder: Path) -> None:
    with pytest.raises(MissingFileError, match="a private net"):
        MediaReader(folder, fetched=fetch.Fetched())("image", "http://127.0.0.1:9/a.png")


def test_without_pillow_a_picture_that_has_to_be_scaled_says_so_before_it_is_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    imported = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "PIL":
            raise ModuleNotFoundError(f"No module named {name!r}", name="PIL")
        return imported(name, *rest, **more)

    monkeypatch.setattr(reader, "is_installed", lambda _: False)
    monkeypatch.setattr(builtins, "__import__", without)
    assert media_of(MediaReader(folder, measures=ROOMY), "a.png").scaling == ""
    with pytest.raises(ConfigurationError, match=r"pip install 'ondine-nb\[media\]'"):
        MediaReader(folder, measures=SMALL)("image", "a.png")
