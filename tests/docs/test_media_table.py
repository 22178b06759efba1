"""The table of real files in `docs/how-to/media.md`: each is made, and gives what stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from ondine_nb.data import Media, MediaReader
from ondine_nb.errors import MediaError
from tests.data.media.drawings import drawing, encoded, jpeg, pdf, png, saved
from tests.data.media.files import encrypted_pdf
from tests.docs.pages import DOCS, agrees

PAGE = (DOCS / "how-to" / "media.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## What real files give")[2].partition("```")[0]
ROWS = re.findall(r"^\| `([^`]+)`[^|]*\| ([^|]+) \| ([^|]+) \|$", TABLE, re.MULTILINE)
FORMS = ("file", "image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("real files")
    turned, size = Image.Exif(), (320, 240)
    turned[0x0112] = 6
    deep = Image.fromarray(numpy.arange(240 * 320).reshape(240, 320).astype("u2"))
    frames = {"save_all": True, "append_images": [drawing(2, size)]}
    files: dict[str, Any] = {
        "photo.png": png(1, size),
        "turned.jpg": encoded(drawing(1, size), "JPEG", exif=turned),
        "photo.webp": encoded(drawing(1, size), "WEBP"),
        "moving.gif": encoded(drawing(1, size), "GIF", **frames),
        "deep.png": encoded(deep, "PNG"),
        "print.jpg": encoded(drawing(1, size, "CMYK"), "JPEG"),
        "path with spaces 🧾.png": png(2, size),
        "book.pdf": pdf(300),
        "locked.pdf": encrypted_pdf(),
        "broken.pdf": pdf(2)[:300],
        "cut.jpg": jpeg(1, size)[:800],
        "empty.png": b"",
        "text.png": b"a text",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for name, content in files.items():
        saved(made, name, content)
    (made / "folder").mkdir()
    return made


def test_every_file_of_the_table_is_a_case_here(folder: Path) -> None:
    there = {path.name for path in folder.iterdir()} | {"book.pdf#page=3", "gone.png"}
    assert {name for name, *_ in ROWS} == there


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_real_file_gives_what_the_table_says(
    folder: Path, row: tuple[str, str, str], form: str
) -> None:
    name, told = row[0], row[1 + FORMS.index(form)]
    if told.startswith("`"):
        kind, _, message = told.partition(": ")
        with pytest.raises(MediaError) as caught:
            MediaReader(folder)(form, name)
        assert type(caught.value).__name__ == kind.strip("`")
        assert agrees(message, str(caught.value)), str(caught.value)
        return
    (part,) = MediaReader(folder)(form, name)
    if told == "sent as text":
        assert part == "a text"
        return
    assert isinstance(part, Media)
    if told.startswith("sent as it is"):
        assert part.load()[1] == (folder / name).read_bytes()
    else:
        assert told in ("sent: that page", "sent: a picture of that page")
        assert part.load()[0] == ("application/pdf" if "picture" not in told else "image/png")
