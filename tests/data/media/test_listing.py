"""A pattern of paths makes a frame of files, with a row for each page where that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ondine_nb.data import matches_files, open_source
from ondine_nb.errors import ConfigurationError
from tests.data.media.files import encrypted_pdf, pdf, picture


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in here 📁").mkdir()
    files = {
        "b.pdf": pdf(["one", "two"]),
        "a.pdf": pdf(["only"]),
        "locked.pdf": encrypted_pdf(),
        "words.pdf": b"no PDF at all",
        "in here 📁/c ü.pdf": pdf(["deep"]),
        "photo[1].png": picture(),
        "table.csv": b"a,b\n1,2\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@pytest.mark.usefixtures("folder")
def test_each_file_has_a_row_in_the_order_of_its_path(kind: str) -> None:
    frame = open_source("*.pdf", kind=kind).frame
    assert frame.kind == kind
    assert frame.columns == ("path", "name", "size")
    rows = [row for chunk in frame.iter_rows(("path", "size")) for row in chunk]
    assert [path for path, _ in rows] == ["a.pdf", "b.pdf", "locked.pdf", "words.pdf"]
    assert rows[0][1] == len(pdf(["only"]))


@pytest.mark.usefixtures("folder")
def test_two_stars_reach_into_folders_with_any_name() -> None:
    native = open_source("**/*.pdf", kind="pandas").frame.native
    assert "in here 📁/c ü.pdf" in list(native["path"])
    assert "c ü.pdf" in list(native["name"])


@pytest.mark.usefixtures("folder")
def test_each_page_has_a_row_and_what_cant_be_opened_one_without_a_page() -> None:
    native = open_source("*.pdf", kind="pandas", pages=True).frame.native
    assert list(native["path"]) == [
        "a.pdf#page=1", "b.pdf#page=1", "b.pdf#page=2", "locked.pdf", "words.pdf",
    ]  # fmt: skip
    assert native["page"].tolist()[:3] == [1, 1, 2]
    assert native["page"].isna().tolist() == [False, False, False, True, True]


def test_one_picture_is_a_frame_of_one_row_whatever_its_name(folder: Path) -> None:
    native = open_source(str(folder / "photo[1].png"), kind="pandas").frame.native
    assert list(native["name"]) == ["photo[1].png"]


@pytest.mark.usefixtures("folder")
def test_a_pattern_is_told_from_an_expression_by_the_files_behind_it() -> None:
    assert matches_files("*.pdf")
    assert matches_files("**/*.pdf")
    assert not matches_files("nothing/*.pdf")
    assert not matches_files("frame[frame.a > 1] * 2")
    assert not matches_files("table.csv")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        ("scans/*.png", {}, "no file matches 'scans/\\*.png'"),
        ("*.pdf", {"dtypes": "name: str"}, "leave dtypes out"),
        ("table.csv", {"pages": True}, "leave --pages out"),
        ([{"a": 1}], {"pages": True}, "leave --pages out"),
        ("*.csv", {}, "there is no file"),
    ],
)
def test_what_cant_be_meant_is_said_in_one_line(
    data: object, options: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_source(data, **options)  # type: ignore[arg-type]
