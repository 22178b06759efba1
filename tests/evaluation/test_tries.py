"""Tries on disk: numbered once and for all, renewed when nothing changed, told by what changed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from pydantic import BaseModel

from ondine_nb.errors import ConfigurationError
from ondine_nb.evaluation import (
    Change,
    Pair,
    Tries,
    Try,
    TryScore,
    changes,
    plain_settings,
    score_pairs,
    told,
    try_sets,
)
from ondine_nb.prompts import Field

PROMPT = "How does the writer feel? {text}"
HAIKU: dict[str, Any] = {"prompt": PROMPT, "model": "claude-haiku-5-5", "params": {"strict": "3"}}


def tried(**given: Any) -> Try:
    known: dict[str, Any] = {"settings": HAIKU, "sample": (0, 3, 5), "content": "c", "rows": 3}
    return Try(**{**known, "answered": 3, "cost": Decimal("0.003"), "p50": 0.8, **given})


def other(**settings: Any) -> Try:
    return tried(settings={**HAIKU, **settings})


def test_a_try_is_there_after_the_process_that_kept_it_as_after_a_restart(home: Path) -> None:
    score = TryScore("sentiment", "accuracy", 3, 2 / 3, 0.2, 0.94, 0.6)
    kept = Tries("reviews").keep(
        tried(scores=[score], failed=1, input_tokens=40, output_tokens=6, run="3f2a9c1b04d7")
    )
    (read,) = Tries("reviews").tries
    assert read == kept
    assert (read.name, read.settings, read.sample) == ("v1", HAIKU, (0, 3, 5))
    assert (read.rows, read.answered, read.failed, read.run) == (3, 3, 1, "3f2a9c1b04d7")
    assert (read.cost, read.usd_per_1000, read.p50) == (Decimal("0.003"), Decimal(1), 0.8)
    assert read.scores == (score,)
    assert try_sets() == ["reviews"]
    assert (home / "tries" / "reviews").is_dir()


def test_asked_again_with_nothing_changed_it_is_the_same_try_renewed() -> None:
    tries = Tries("reviews")
    first = tries.keep(tried(rows=2, answered=2))
    tries.note(1, "the plain one")
    tries.keep(other(model="claude-sonnet-5-5"))
    again = tries.keep(tried(rows=3, answered=3, p50=None))
    assert [found.name for found in tries.tries] == ["v1", "v2"]
    assert (again.number, again.at, again.note) == (1, first.at, "the plain one")
    assert (again.rows, again.p50) == (3, 0.8)
    assert again.renewed >= first.renewed


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {**HAIKU, "prompt": "Is it good? {text}"}},
        {"settings": {**HAIKU, "params": {"strict": "4"}}},
        {"settings": {**HAIKU, "schema": "sentiment: positive|negative"}},
        {"sample": (0, 3, 6)},
        {"content": "the rows were edited"},
        {"settings": {**HAIKU, "examples": pd.DataFrame({"text": ["a"], "mood": ["good"]})}},
    ],
)
def test_whatever_decides_the_answers_makes_another_try(changed: dict[str, Any]) -> None:
    tries = Tries("reviews")
    tries.keep(tried())
    assert tries.find(tried(**changed)) is None
    assert tries.keep(tried(**changed)).number == 2


def test_other_examples_make_another_try_though_none_of_them_is_kept() -> None:
    tries = Tries("reviews")
    frames = [pd.DataFrame({"text": [text], "mood": ["good"]}) for text in ("a", "b", "a")]
    numbers = [tries.keep(other(examples=frame)).number for frame in frames]
    assert numbers == [1, 2, 1]
    assert tries.keep(other(examples=pl.from_pandas(frames[1]))).number == 2


def test_what_only_the_run_goes_by_makes_no_other_try() -> None:
    tries = Tries("reviews")
    tries.keep(tried())
    assert tries.keep(other(budget=Decimal("0.02"), concurrency=4, timeout=3.0)).number == 1
    found = tries.find(other(fresh=True))
    assert found is not None
    assert found.options["budget"] == "0.02"


def test_notes_and_scores_are_put_to_a_try_later_and_the_last_ones_hold() -> None:
    tries = Tries("reviews")
    tries.keep(tried())
    tries.note(1, "first")
    tries.note(1, "ja, süß")
    tries.score(1, [TryScore("sentiment", "agreement", 3, 1.0)])
    (found,) = Tries("reviews").tries
    assert found.note == "ja, süß"
    assert found.scores[0].measure == "agreement"
    assert tries.note(1, "").note == ""


def test_a_number_that_isnt_there_is_an_error_that_names_the_last_ones() -> None:
    tries = Tries("reviews")
    tries.keep(tried())
    with pytest.raises(ConfigurationError, match=r"reviews has no try v7 \(the last ones: v1\)"):
        tries.note(7, "?")
    with pytest.raises(ConfigurationError, match="tries need a name"):
        Tries(" ")


WRITER = """
import sys
from ondine_nb.evaluation import Tries, Try
tries = Tries("reviews")
for number in range(int(sys.argv[2])):
    kept = tries.keep(Try({"prompt": f"{sys.argv[1]} {number} {{text}}"}, (0,)))
    print(kept.number, kept.prompt, sep="|", flush=True)
    tries.keep(Try({"prompt": f"both {number} {{text}}"}, (0,)))
"""


def test_two_kernels_that_keep_at_once_never_give_one_number_twice(home: Path) -> None:
    start = [sys.executable, "-c", WRITER]
    kernels = [
        subprocess.Popen([*start, who, "40"], stdout=subprocess.PIPE, text=True)
        for who in ("ann", "bo")
    ]
    outputs = [kernel.communicate()[0] for kernel in kernels]
    assert [kernel.returncode for kernel in kernels] == [0, 0]
    lines = [line.split("|") for output in outputs for line in output.splitlines()]
    given = {int(number): prompt for number, prompt in lines}
    found = {each.number: each.prompt for each in Tries("reviews").tries}
    assert len(given) == 80
    assert given.items() <= found.items()  # as each kernel was told, so it is for all
    assert sorted(found) == list(range(1, 121))  # what both asked is one try


def test_a_damaged_line_is_said_and_the_other_tries_are_read(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Tries("reviews").keep(tried())
    (file,) = home.glob("tries/reviews/*.jsonl")
    (line,) = file.read_bytes().splitlines()
    wrong = json.loads(line)
    wrong["try"]["cost"] = "much"
    broken = [b"{", b"[1]", b'{"sequence": 1}', json.dumps(wrong).encode(), line[:40]]
    file.with_name("killed.jsonl").write_bytes(b"\n".join([*broken[:4], line, b""]) + broken[4])
    file.unlink()
    tries = Tries("reviews")
    assert [found.name for found in tries.tries] == ["v1"]
    assert len(tries.damaged) == 5
    assert "it is no try" in tries.damaged[3]
    assert "isn't whole" in tries.damaged[4]
    assert tries.damaged[0] in caplog.text
    assert tries.keep(other(model="m")).number == 2


def test_no_key_and_no_row_is_ever_kept(home: Path) -> None:
    class Mood(BaseModel):
        mood: str

    class OfMine:
        identity = "https://me:hunter2@elsewhere/v1"

    settings = {
        **HAIKU,
        "model": OfMine(),
        "base_url": "https://me:hunter2@host/v1",
        "api_key": "sk-secret",
        "provider": object(),
        "examples": pd.DataFrame({"text": ["a private row"]}),
        "schema": Mood,
        "system": None,
    }
    kept = Tries("reviews").keep(tried(settings=settings))
    (file,) = home.glob("tries/reviews/*.jsonl")
    text = file.read_text()
    assert not [word for word in ("hunter2", "sk-secret", "private row", "<object") if word in text]
    assert kept.settings["base_url"] == "https://host/v1"
    assert kept.settings["model"] == "https://elsewhere/v1"
    assert kept.options["schema"] == Mood.model_json_schema()
    assert plain_settings(kept.settings) == kept.settings


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({}, {"model": "claude-sonnet-5-5"}, "model claude-haiku-5-5 → claude-sonnet-5-5"),
        ({}, {"params": {"strict": "4"}}, "strict 3 → 4"),
        ({}, {"effort": "low"}, "effort default → low"),
        ({"prompt": "Be nice. Give a reason. {text}"},
         {"prompt": "Be nice. Quote the words. {text}"},
         "− “Give a reason” + “Quote the words”"),
        ({"prompt": "Rate it. {text}"}, {"prompt": "Rate it. Be strict. {text}"},
         "+ “Be strict.”"),
        ({"schema": "urgency: low|high"}, {"schema": "urgency: low|high, topic: str"},
         "schema + “, topic: str”"),
        ({}, {"model": "m", "effort": "low"},
         "model claude-haiku-5-5 → m · effort default → low"),
        ({}, {}, "nothing"),
    ],
)  # fmt: skip
def test_what_changed_is_told_in_short(
    before: dict[str, Any], after: dict[str, Any], line: str
) -> None:
    assert told(changes(other(**before), other(**after))) == line


def test_other_rows_are_told_and_more_than_a_line_holds_is_counted() -> None:
    rows = changes(tried(), tried(sample=(1, 2, 3)))
    assert rows == [Change("rows", "3", "3 others")]
    many = changes(tried(), other(**{f"option_{at}": "x" * 20 for at in range(9)}))
    assert told(many).endswith(" +7 more")
    assert len(told(many)) <= 130
    assert changes(None, tried()) == []


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_the_leaderboard_is_a_frame_with_a_row_for_each_try(kind: str) -> None:
    tries = Tries("reviews")
    field = Field("mood", "choice", ("good", "bad"))
    scores = score_pairs(field, [Pair("good", "good"), Pair("bad", "good")])
    tries.keep(tried(scores=[TryScore.of(scores)]))
    tries.keep(replace(other(model="m"), cost=None, answered=0))
    tries.note(2, "dear")
    frame = tries.frame(kind)
    assert isinstance(frame, pd.DataFrame if kind == "pandas" else pl.DataFrame)
    rows = frame.to_dict("records") if isinstance(frame, pd.DataFrame) else frame.to_dicts()
    one, two = rows
    assert (one["try"], one["changed"], one["model"]) == ("v1", "first prompt", HAIKU["model"])
    assert (one["field"], one["n"], one["accuracy"]) == ("mood", 2, 0.5)
    assert (one["low"], one["high"]) == scores.interval
    assert one["macro_f1"] == scores.macro_f1
    assert (one["usd_per_1000"], one["p50"]) == (1.0, 0.8)
    assert (two["try"], two["changed"]) == ("v2", "model claude-haiku-5-5 → m")
    assert two["note"] == "dear"
    assert pd.isna(two["accuracy"])
    assert pd.isna(two["usd_per_1000"])


def test_a_number_field_is_told_by_its_mean_error() -> None:
    scores = score_pairs(Field("stars", "int"), [Pair(3, 4), Pair(5, 5), Pair(1, 1)])
    assert TryScore.of(scores).measure == "mae"
    assert TryScore.of(scores).value == scores.mae


def test_reading_tries_that_arent_there_makes_no_folder(home: Path) -> None:
    assert Tries("reviews").tries == []
    assert try_sets() == []
    assert not home.exists()


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_before_the_first_try_there_is_an_empty_leaderboard(home: Path, kind: str) -> None:
    frame = Tries("reviews").frame(kind)
    assert len(frame) == 0
    assert "accuracy" in list(frame.columns)
