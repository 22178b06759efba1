"""Labels out as a frame, and in from frames and files, without loss or doubling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb.data import wrap
from ondine_nb.errors import ColumnError, ConfigurationError
from ondine_nb.evaluation import (
    Label,
    LabelSet,
    labels_frame,
    labels_in,
    merged,
    opened,
    take_in,
)
from ondine_nb.prompts import Field

FIELDS = [
    Field("mood", "choice", ("glad", "sad")),
    Field("score", "int"),
    Field("tags", "list[str]"),
    Field("when", "date"),
]


def some() -> list[Label]:
    labels = LabelSet("labeled")
    labels.add({"text": "a"}, {"mood": "sad", "score": 3}, reviewer="ann", note="why")
    labels.add({"text": "b"}, {"tags": ["x"], "when": "2026-11-30"})
    return merged(labels.labels)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_labels_frame_has_keys_fields_note_reviewer_and_time_by_their_types(kind: str) -> None:
    frame = labels_frame(kind, some(), FIELDS, ["text"])
    assert list(frame.columns) == [
        "text", "mood", "score", "tags", "when", "note", "reviewer", "at",
    ]  # fmt: skip
    native = pd.DataFrame if kind == "pandas" else pl.DataFrame
    assert isinstance(frame, native)
    rows = next(wrap(frame).iter_rows(["text", "mood", "score", "tags", "note", "reviewer"]))
    assert rows == [
        ("a", "sad", 3, None, "why", "ann"),
        ("b", None, None, ["x"], "", "reviewer"),
    ]
    if kind == "polars":
        assert frame.schema["mood"] == pl.Enum(["glad", "sad"])
        assert frame.schema["when"] == pl.Date
        assert frame.schema["at"] == pl.Datetime("us", "UTC")


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_no_labels_are_an_empty_frame_of_the_same_columns(kind: str) -> None:
    empty, full = (labels_frame(kind, it, FIELDS, ["text"]) for it in ([], some()))
    assert list(empty.columns) == list(full.columns)
    assert [str(it) for it in empty.dtypes] == [str(it) for it in full.dtypes]


def test_labels_that_the_schema_no_longer_takes_are_shown_as_they_are() -> None:
    labels = [Label({"text": "a"}, {"mood": "angry", "score": "many", "old": [1]})]
    frame = labels_frame("pandas", labels, FIELDS, ["text"])
    assert frame["mood"].cat.categories.tolist() == ["glad", "sad", "angry"]
    assert frame["score"].tolist() == ["many"]
    assert frame["old"].tolist() == [[1]]


def test_key_columns_that_are_called_as_others_dont_cover_them_and_come_back() -> None:
    labels = [Label({"note": "a", "mood": "b", "text": "c"}, {"mood": "sad"}, note="n")]
    frame = labels_frame("pandas", labels, FIELDS)
    assert list(frame.columns[:3]) == ["input_note", "input_mood", "text"]
    on = ["input_note", "input_mood", "text"]
    (back,) = labels_in(wrap(frame), on, ["mood"])
    assert (back.key, back.fields, back.note) == (labels[0].key, {"mood": "sad"}, "n")


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_what_was_exported_is_taken_in_again_as_it_was_and_not_twice(kind: str) -> None:
    labels = some()
    frame = labels_frame(kind, labels, FIELDS, ["text"])
    back = labels_in(wrap(frame), ["text"])
    other = LabelSet("other")
    assert take_in(other, back) == 2
    again = merged(other.labels)
    assert [(it.key, it.fields, it.note, it.reviewer) for it in again] == [
        (it.key, it.fields, it.note, it.reviewer) for it in labels
    ]
    assert take_in(other, back) == 0
    assert len(other.labels) == 2


@pytest.mark.parametrize("write", ["csv", "jsonl", "parquet", "polars csv"])
def test_files_are_taken_in_as_frames_are(write: str, tmp_path: Path) -> None:
    path = tmp_path / f"labels.{write.split()[-1]}"
    frame = pd.DataFrame({"text": ["a", "b", None], "mood": ["sad", None, "sad"]})
    if write == "csv":
        frame.to_csv(path, index=False)
    elif write == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif write == "parquet":
        frame.to_parquet(path)
    else:
        pl.from_pandas(frame).write_csv(path)
    (label,) = labels_in(opened(str(path)), ["text"], reviewer="bo")
    assert (label.key, label.fields, label.reviewer) == ({"text": "a"}, {"mood": "sad"}, "bo")


def test_columns_and_sources_that_arent_there_are_named() -> None:
    frame = wrap(pd.DataFrame({"text": ["a"], "mood": ["sad"]}), "labels")
    with pytest.raises(ColumnError, match="labels has no column 'txt': did you mean 'text'"):
        labels_in(frame, ["txt"])
    with pytest.raises(ColumnError, match="no column but its key"):
        labels_in(wrap(pd.DataFrame({"text": ["a"]}), "labels"), ["text"])
    wrong: Any = 3
    with pytest.raises(ConfigurationError, match="labels is a int: give a frame or a file"):
        opened(wrong)
