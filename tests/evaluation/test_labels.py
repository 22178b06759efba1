"""Labels on disk: durable, merged by sequence, undone by a later line, damaged lines named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.errors import ConfigurationError, JournalError
from ondine_nb.evaluation import (
    Draw,
    Label,
    LabelSet,
    json_value,
    key_text,
    label_sets,
    merged,
)

KEY = {"text": "I love it"}


def test_a_label_is_there_after_the_process_that_wrote_it_as_after_a_restart(home: Path) -> None:
    draw = Draw("one of each", "positive", 40)
    written = LabelSet("labeled").add(
        KEY, {"sentiment": "negative", "score": 0.5}, reviewer="ann", note="irony", draw=draw
    )
    (read,) = LabelSet("labeled").labels
    assert read == written
    assert (read.key, read.fields) == (KEY, {"sentiment": "negative", "score": 0.5})
    assert (read.reviewer, read.note, read.draw) == ("ann", "irony", draw)
    assert (home / "labels" / "labeled").is_dir()


def test_labels_lie_as_one_json_line_each_that_any_tool_reads(home: Path) -> None:
    labels = LabelSet("labeled")
    labels.add(KEY, {"when": date(2026, 11, 30)}, note="ja, süß\u2028!")
    labels.add(KEY, {"tags": ["a", float("nan")]})
    (file,) = home.glob("labels/labeled/*.jsonl")
    lines = [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
    assert [line["fields"] for line in lines] == [{"when": "2026-11-30"}, {"tags": ["a", None]}]
    assert [line["sequence"] for line in lines] == [1, 2]
    assert "süß" in file.read_text(encoding="utf-8")


def test_version_control_leaves_labels_alone_as_it_does_the_journal(home: Path) -> None:
    LabelSet("labeled").add(KEY, {"a": 1})
    assert (home / ".gitignore").read_text() == "*\n"


def test_reading_a_set_that_isnt_there_makes_no_folder(home: Path) -> None:
    assert LabelSet("labeled").labels == []
    assert label_sets() == []
    assert not home.exists()


def test_two_sets_over_the_same_texts_dont_meet() -> None:
    LabelSet("mood").add(KEY, {"label": "glad"})
    LabelSet("topic").add(KEY, {"label": "film"})
    assert [label.fields for label in LabelSet("mood").labels] == [{"label": "glad"}]
    assert label_sets() == ["mood", "topic"]


@pytest.mark.parametrize("name", ["../up", "a/b", "CON ", "ä", ".hidden", "x" * 300, "a.", "Ab"])
def test_any_name_is_a_set_of_its_own_inside_the_folder(name: str, home: Path) -> None:
    LabelSet(name).add(KEY, {"a": 1})
    assert [label.fields for label in LabelSet(name).labels] == [{"a": 1}]
    assert LabelSet(name.replace("a", "_").replace("/", "_") + "?").labels == []
    (file,) = home.rglob("*.jsonl")
    assert file.parent.parent == home / "labels"
    assert label_sets() == [name]


def test_sets_whose_folder_is_one_on_a_careless_file_system_dont_meet(home: Path) -> None:
    LabelSet("mood").add(KEY, {"a": 1})
    (home / "labels" / "Mood").symlink_to(LabelSet("mood").path)
    assert LabelSet("Mood").labels == []
    LabelSet("Mood").add(KEY, {"a": 2})
    assert [label.fields for label in LabelSet("mood").labels] == [{"a": 1}]


def test_of_two_labels_the_later_by_sequence_holds_field_by_field() -> None:
    labels = LabelSet("labeled")
    labels.add(KEY, {"sentiment": "positive", "score": 1}, note="sure")
    labels.add(KEY, {"sentiment": "negative"})
    (found,) = merged(labels.labels)
    assert found.fields == {"sentiment": "negative", "score": 1}
    assert found.note == "sure"
    assert len(labels) == 1


def test_no_clock_says_which_label_is_the_later(home: Path) -> None:
    labels = LabelSet("labeled")
    labels.add(KEY, {"a": "first"})
    (file,) = home.glob("labels/labeled/*.jsonl")
    text = file.read_text()
    at = json.loads(text)["at"]
    file.write_text(text.replace(at, "2099-01-01T00:00:00+00:00"))
    LabelSet("labeled").add(KEY, {"a": "last"})
    assert merged(LabelSet("labeled").labels)[0].fields == {"a": "last"}


def test_reviewers_have_a_label_each() -> None:
    labels = LabelSet("labeled")
    labels.add(KEY, {"a": 1}, reviewer="ann")
    labels.add(KEY, {"a": 2}, reviewer="bo")
    assert [(label.reviewer, label.fields) for label in merged(labels.labels)] == [
        ("ann", {"a": 1}),
        ("bo", {"a": 2}),
    ]


def test_an_undo_brings_back_what_was_said_before_and_erases_nothing(home: Path) -> None:
    labels = LabelSet("labeled")
    labels.add(KEY, {"a": 1})
    second = labels.add(KEY, {"a": 2, "b": 3})
    labels.undo(second)
    assert merged(labels.labels)[0].fields == {"a": 1}
    assert merged(LabelSet("labeled").labels)[0].fields == {"a": 1}
    (file,) = home.glob("labels/labeled/*.jsonl")
    assert len(file.read_text().splitlines()) == 3


def test_another_writer_is_seen_after_a_refresh_and_written_behind() -> None:
    here, there = LabelSet("labeled"), LabelSet("labeled")
    there.add(KEY, {"a": 1})
    assert here.refresh().labels[0].fields == {"a": 1}
    assert here.add(KEY, {"a": 2}).sequence == 2
    assert there.add(KEY, {"a": 3}).sequence == 3


def test_a_copied_file_doubles_nothing(home: Path) -> None:
    LabelSet("labeled").add(KEY, {"a": 1})
    (file,) = home.glob("labels/labeled/*.jsonl")
    shutil.copy(file, file.with_name("copy.jsonl"))
    assert len(LabelSet("labeled").labels) == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "can't be read"),
        (b"\xff\xfe", "can't be read"),
        (b"[1]", "no JSON object"),
        (b'{"sequence": 1}', "it lacks fields, key, reviewer, set, writer"),
        (
            b'{"sequence": "1", "writer": "w", "set": "labeled", "reviewer": "r", "undoes": "x"}',
            "'sequence' is no int",
        ),
        (
            b'{"sequence":1,"writer":"w","set":"labeled","reviewer":"r","key":[],"fields":{}}',
            "its key and fields are no texts",
        ),
        (b"[" * 100_000, "can't be read"),
    ],
)
def test_a_damaged_line_is_named_and_the_others_are_read(
    line: bytes, why: str, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = LabelSet("labeled")
    labels.add(KEY, {"a": 1})
    (file,) = home.glob("labels/labeled/*.jsonl")
    file.write_bytes(line + b"\n" + file.read_bytes())
    again = LabelSet("labeled")
    assert [label.fields for label in again.labels] == [{"a": 1}]
    (said,) = again.damaged
    assert why in said
    assert f"{file} line 1" in said
    assert said in caplog.text


def test_a_torn_last_line_is_said_and_nothing_is_written_behind_it(home: Path) -> None:
    LabelSet("labeled").add(KEY, {"a": 1})
    (file,) = home.glob("labels/labeled/*.jsonl")
    torn = file.with_name("killed.jsonl")
    torn.write_bytes(file.read_bytes() + b'{"sequence": 2, "wri')
    file.unlink()
    labels = LabelSet("labeled")
    assert [label.fields for label in labels.labels] == [{"a": 1}]
    assert labels.damaged == [f"{torn} line 2 isn't whole: its writer was killed, or writes"]
    labels.add(KEY, {"a": 2})
    assert torn.read_bytes().endswith(b'"wri')
    assert merged(LabelSet("labeled").labels)[0].fields == {"a": 2}


def test_a_folder_that_was_deleted_begins_anew_and_loses_no_label_after_it(home: Path) -> None:
    labels = LabelSet("labeled")
    labels.add(KEY, {"a": 1})
    shutil.rmtree(home)
    labels.add(KEY, {"a": 2})
    assert [label.fields for label in labels.labels] == [{"a": 2}]
    assert [label.fields for label in LabelSet("labeled").labels] == [{"a": 2}]


def test_a_full_disk_is_an_error_and_leaves_no_half_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = LabelSet("labeled")
    labels.add(KEY, {"a": 1})
    whole = os.write

    def short(descriptor: int, data: Any) -> int:
        if len(data) > 10:
            return whole(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", short)
        with pytest.raises(JournalError, match="No space left on device; make room"):
            labels.add(KEY, {"a": "a longer one"})
    labels.add(KEY, {"a": 3})
    assert [label.fields["a"] for label in LabelSet("labeled").labels] == [1, 3]
    assert LabelSet("labeled").damaged == []


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_a_forked_child_writes_a_file_of_its_own(home: Path) -> None:
    labels = LabelSet("labeled")
    labels.add(KEY, {"a": 1})
    code = (
        "import os, sys\n"
        "from ondine_nb.evaluation import LabelSet\n"
        "labels = LabelSet('labeled')\n"
        "labels.add({'text': 'x'}, {'a': 2})\n"
        "if os.fork() == 0:\n"
        "    labels.add({'text': 'x'}, {'a': 3})\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [label.fields["a"] for label in labels.refresh().labels] == [1, 2, 3]
    assert len(list(home.glob("labels/labeled/*.jsonl"))) == 3


@pytest.mark.parametrize("reviewer", ["model", "", " "])
def test_a_reviewer_can_be_told_from_the_model(reviewer: str) -> None:
    with pytest.raises(ConfigurationError, match="give a person's name"):
        LabelSet("labeled").add(KEY, {"a": 1}, reviewer=reviewer)


def test_a_label_without_key_and_a_set_without_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="a label needs a key"):
        LabelSet("labeled").add({}, {"a": 1})
    with pytest.raises(ConfigurationError, match="needs a name"):
        LabelSet(" ")


# --- two writers, one of them killed

WRITER = """
import sys
from ondine_nb.evaluation import LabelSet
labels = LabelSet("labeled")
who, many = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
for number in range(many):
    labels.add({"text": f"row {number}"}, {"by": f"{who} {number}"}, reviewer=who)
    print(number, flush=True)
"""


def test_a_thousand_labels_of_two_processes_one_killed_are_none_lost_none_doubled(
    home: Path,
) -> None:
    start = [sys.executable, "-c", WRITER]
    ann = subprocess.Popen([*start, "ann", "1000000"], stdout=subprocess.PIPE, text=True)
    bo = subprocess.Popen([*start, "bo", "500"], stdout=subprocess.PIPE, text=True)
    assert ann.stdout is not None
    assert bo.stdout is not None
    acknowledged = 0
    for line in ann.stdout:
        acknowledged = int(line) + 1 if line.strip() != "ready" else 0
        if acknowledged == 500:
            ann.send_signal(signal.SIGKILL)
            break
    acknowledged += len(ann.stdout.read().split())  # what it had said before it died
    told = len(bo.stdout.read().split()) - 1
    assert (ann.wait(), bo.wait()) == (-signal.SIGKILL, 0)
    assert told == 500

    labels = LabelSet("labeled")
    found = Counter(label.fields["by"] for label in labels.labels)
    assert max(found.values()) == 1
    wanted = {f"ann {number}" for number in range(acknowledged)}
    wanted |= {f"bo {number}" for number in range(500)}
    # One more may have been written, and the kill came before it could be told.
    assert found.keys() - wanted <= {f"ann {acknowledged}"}
    assert wanted <= found.keys()
    assert len(found) >= 1000
    assert labels.add(KEY, {"a": 1}).sequence > max(label.sequence for label in labels.labels[:-1])


# --- open inputs

texts = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
several = st.lists(
    st.tuples(
        st.dictionaries(texts, texts, min_size=1, max_size=3),
        st.dictionaries(texts, values, max_size=3),
        texts,
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60)
@given(given_labels=several)
def test_whatever_is_said_is_read_as_it_was_written(
    given_labels: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("home")
    said = [Label(key, fields, "ann", note) for key, fields, note in given_labels]
    written = LabelSet("labeled", folder).add_all(said)
    again = LabelSet("labeled", folder)
    assert again.labels == written
    assert again.damaged == []
    assert [label.sequence for label in written] == list(range(1, len(said) + 1))


@given(values)
def test_a_value_of_a_field_is_the_same_once_it_is_json(value: Any) -> None:
    once = json_value(value)
    assert json_value(once) == once
    json.dumps(once, allow_nan=False)


def test_bytes_that_are_no_text_are_known_by_a_digest_and_dont_meet() -> None:
    assert key_text(b"\xff1") != key_text(b"\xff2")
    assert key_text(b"\xff1").startswith("sha256:")
    assert key_text(b"text") == "text"
