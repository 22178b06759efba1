"""Pictures of media cells: what a page is told of each, made when it asks and bounded in size."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from ondine_nb.data import MediaReader, wrap
from ondine_nb.notebook.ui import Pictures, pictures
from tests.data.media.drawings import jpeg, pdf, png, saved


def of(folder: Path, *cells: Any, form: str = "file") -> Pictures:
    frame = pd.DataFrame({"doc": pd.Series(list(cells), dtype=object)})
    return Pictures(wrap(frame, "docs"), {"doc": form}, MediaReader(folder))


def small(known: Pictures, at: int = 0) -> list[dict[str, Any]]:
    (told,) = known.asked([{"at": at, "name": "doc", "size": "small"}])
    return json.loads(json.dumps(told))


def decoded(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_cell_is_told_with_a_small_picture_its_name_and_its_facts(tmp_path: Path) -> None:
    saved(tmp_path, "a 🧾.jpg", jpeg(size=(800, 400)))
    (told,) = small(of(tmp_path, "a 🧾.jpg"))
    assert decoded(told["url"]).size == (96, 48)
    assert (told["about"], told["why"]) == ("a 🧾.jpg", "")
    assert told["facts"].startswith("JPEG · 800 × 400 px · ")


def test_in_full_it_is_as_large_as_it_is_up_to_a_bound(tmp_path: Path) -> None:
    known = of(tmp_path, png(size=(300, 200)), png(size=(4_000, 1_000)))
    assert decoded(known.opened(0, "doc")["url"]).size == (300, 200)
    assert decoded(known.opened(1, "doc")["url"]).size == (1_800, 450)


def test_a_list_has_a_picture_for_each_and_is_walked_through(tmp_path: Path) -> None:
    known = of(tmp_path, [png(1), png(2), png(3)], form="images")
    assert len(small(known)) == 3
    assert [known.opened(0, "doc", which)["which"] for which in (0, 2, 9, -1)] == [0, 2, 2, 0]
    assert known.opened(0, "doc")["of"] == 3


def test_a_pdf_is_opened_by_its_pages_and_the_last_is_found(tmp_path: Path) -> None:
    known = of(tmp_path, pdf(3))
    assert small(known)[0]["pages"] == 3
    assert [known.opened(0, "doc", 0, page)["page"] for page in (0, 2, -1, 7)] == [0, 2, 2, 2]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("missing.png", None, "isn't there"),
        ("empty.png", b"", "is empty"),
        ("text.png", b"a text", "is text by its content"),
        ("drawing.png", b"<svg><script>1</script></svg>", "is SVG by its content"),
        ("cut.jpg", jpeg(size=(900, 900))[:900], "is cut or broken"),
    ],
)
def test_what_cannot_be_shown_is_named_and_says_why(
    tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    if content is not None:
        saved(tmp_path, name, content)
    known = of(tmp_path, name, form="image")
    (told,) = small(known)
    assert (told["url"], told["about"]) == ("", name)
    assert why in told["why"]
    opened = known.opened(0, "doc")
    assert opened["url"] == ""
    assert why in opened["why"]


def test_a_text_file_is_no_picture_and_a_url_is_not_asked_for(tmp_path: Path) -> None:
    saved(tmp_path, "notes.txt", b"some notes")
    known = of(tmp_path, "notes.txt", "https://example.com/a.png", None)
    assert small(known)[0]["why"] == "it goes as text: see the prompt"
    (told,) = small(known, 1)
    assert (told["url"], told["about"]) == ("", "a.png")
    assert "not by this page" in told["why"]
    assert small(known, 2) == []
    assert known.opened(2, "doc")["why"] == "there is no picture in this cell"


def test_a_file_that_was_changed_is_shown_as_it_is_now(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", png(1, size=(40, 20)))
    known = of(tmp_path, str(path))
    assert decoded(small(known)[0]["url"]).size == (40, 20)
    saved(tmp_path, "a.png", png(1, size=(20, 40)))
    assert decoded(small(known)[0]["url"]).size == (20, 40)


def test_a_small_one_is_made_once_for_all_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, "a.png", png(77))
    first = small(of(tmp_path, "a.png"))
    monkeypatch.setattr(pictures, "thumbnail", lambda *_: pytest.fail("it is made again"))
    assert small(of(tmp_path, "a.png")) == first


def test_an_answer_has_as_many_as_are_made_in_a_while_and_one_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = of(tmp_path, *(png(at) for at in range(5)))
    wanted = [{"at": at, "name": "doc", "size": "small"} for at in range(5)]
    monkeypatch.setattr(pictures, "TURN", 0.0)
    assert len(known.asked(wanted)) == 1
    monkeypatch.setattr(pictures, "TURN", 1e9)
    assert len(known.asked(wanted)) == 5


def test_without_pillow_a_line_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = of(tmp_path, png(55))
    monkeypatch.setitem(sys.modules, "PIL", None)
    (told,) = small(known)
    assert told["url"] == ""
    assert told["why"] == "pictures are shown by Pillow: pip install 'ondine-nb[media]'"


def test_only_columns_that_the_prompt_takes_as_media_are_read(tmp_path: Path) -> None:
    known = of(tmp_path, png(1))
    with pytest.raises(ValueError, match="no pictures of a column 'secret'"):
        known.asked([{"at": 0, "name": "secret", "size": "small"}])


def test_a_saved_image_is_small_html_whose_name_is_escaped(tmp_path: Path) -> None:
    name = '<img src=x onerror=alert(1)>".png'
    saved(tmp_path, name, png(9))
    (shown,) = of(tmp_path, name).small(0, "doc")
    html = str(shown.img)
    assert html.count("<") == 1
    assert "&lt;img src=x onerror=alert(1)&gt;&#34;.png" in html
    assert 'data-at="0" data-column="doc" data-which="0"' in html
    assert len(html) < 3_000
