"""Examples from labels: drawn the same each time, and never shown before their own content."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rapidfuzz.fuzz import ratio
from sklearn.feature_extraction.text import TfidfVectorizer

from ondine_nb.data import wrap
from ondine_nb.errors import ColumnError, ConfigurationError
from ondine_nb.evaluation import Examples, LabelSet, examples_of
from ondine_nb.prompts import JinjaTemplate, Template, parse_schema

WORDS = ["great", "awful", "fine", "slow", "fast", "cheap", "heavy", "light", "red", "blue", "calm"]
SHOWN = re.compile(
    r"<example>\n<input>\n(.*?)\n</input>\n<output>\n(.*?)\n</output>\n</example>", re.DOTALL
)


def sentences(n: int, seed: int = 0, words: int = 8) -> list[str]:
    draw = random.Random(seed)
    return [f"{' '.join(draw.choices(WORDS, k=words))} number {at * 7919}" for at in range(n)]


def gold(n: int = 40, moods: Sequence[str] = ("glad", "sad"), seed: int = 0) -> pd.DataFrame:
    draw = random.Random(seed)
    return pd.DataFrame({"text": sentences(n, seed), "mood": draw.choices(moods, k=n)})


def drawn(frame: Any, **options: Any) -> Examples:
    template = Template.compile("Feel? {text}\nSay it.", ["text"])
    return examples_of(
        frame, template=template, schema=parse_schema("mood: glad|sad|calm"), **options
    )


def shown(before: str) -> list[tuple[str, str]]:
    """Input and output of each example in the text before a prompt."""
    return SHOWN.findall(before)


def typo(text: str, draw: random.Random) -> str:
    """The same with one letter wrong."""
    at = draw.randrange(len(text))
    return text[:at] + draw.choice("xyz") + text[at + 1 :]


# -- what is shown


def test_stratified_examples_are_the_same_for_all_rows_each_class_in_turn() -> None:
    frame = gold(60, ["glad"] * 8 + ["sad", "calm"])
    examples = drawn(frame, shots=6)
    outputs = Counter(output for _, output in shown(examples.head))
    assert outputs == {f'{{"mood": "{mood}"}}': 2 for mood in ("glad", "sad", "calm")}
    assert examples.before([("something else",), ("and again",)]) == [examples.head] * 2
    again = drawn(frame.sample(frac=1, random_state=3), shots=6)
    assert again.head == examples.head
    assert again.fingerprint == examples.fingerprint


def test_an_example_shows_what_the_prompt_says_of_its_row_alone_and_the_answer() -> None:
    (only,) = shown(drawn(pd.DataFrame({"text": ["Good\nday"], "mood": ["glad"]})).head)
    assert only == ("Good\nday", '{"mood": "glad"}')


def test_the_nearest_examples_stand_before_each_row_the_most_similar_last() -> None:
    examples = drawn(gold(200), shots=4, by="nearest")
    asked = "great great red light number 1"
    (before,) = examples.before([(asked,)])
    texts = [each.text for each in examples.pool]
    by_trigrams = TfidfVectorizer(analyzer="char", ngram_range=(3, 3), sublinear_tf=True)
    known = by_trigrams.fit_transform([f" {text} " for text in texts])
    alike = (known @ by_trigrams.transform([f" {asked} "]).T).toarray()[:, 0]
    best = sorted(range(len(texts)), key=alike.__getitem__)[-4:]
    assert [text for text, _ in shown(before)] == [texts[at] for at in best]
    assert examples.head == ""


@pytest.mark.parametrize("by", ["stratified", "nearest"])
def test_the_split_is_by_content_so_that_more_labels_dont_move_those_that_were_there(
    by: str,
) -> None:
    few, many = drawn(gold(40), shots=4, by=by), drawn(gold(400).iloc[:80], shots=4, by=by)
    assert len(few.pool) + few.scored == 40
    assert f"{few.scored:,} of 40 labels are left for scores" in few.line
    if by == "nearest":
        assert 10 < len(few.pool) < 30
        here = {each.content for each in few.pool}
        assert here == {each.content for each in many.pool if each.content in contents(gold(40))}


def contents(frame: pd.DataFrame) -> set[str]:
    return {text.casefold() for text in frame["text"]}


def test_equal_contents_are_one_label_and_the_last_one_holds() -> None:
    frame = pd.DataFrame({"text": ["A  b", "a b", "c d"], "mood": ["sad", "glad", "sad"]})
    examples = drawn(frame, shots=2)
    assert {each.answer for each in examples.pool if each.content == "a b"} == {'{"mood": "glad"}'}
    assert len(examples.pool) == 2


def test_two_that_are_nearly_equal_arent_both_shown_while_there_are_others() -> None:
    draw = random.Random(1)
    texts = sentences(12)
    frame = pd.DataFrame({"text": [*texts, *(typo(text, draw) for text in texts)], "mood": "glad"})
    picked = [each.content for each in drawn(frame, shots=10).pool]
    assert all(ratio(one, two) < 90 for one in picked for two in picked if one is not two)


# -- leaks


def families() -> st.SearchStrategy[list[str]]:
    """Rows of which many are equal or nearly equal to others: copies, cases, blanks, typos."""
    changes = st.sampled_from(["same", "upper", "blanks", "typo", "stop"])

    @st.composite
    def build(draw: st.DrawFn) -> list[str]:
        seed = draw(st.integers(0, 10_000))
        rows = []
        for at, text in enumerate(sentences(draw(st.integers(4, 12)), seed)):
            rows.append(text)
            rows += [changed(text, draw(changes), at) for _ in range(draw(st.integers(0, 3)))]
        return draw(st.permutations(rows))

    return build()


def scraps() -> st.SearchStrategy[list[str]]:
    """Rows of a few letters, of which many are alike by chance."""
    return st.lists(st.text("abA \n", min_size=1, max_size=12), min_size=2, max_size=14)


def changed(text: str, how: str, seed: int) -> str:
    return {
        "same": text,
        "upper": text.upper(),
        "blanks": f"  {text.replace(' ', '   ')}\n",
        "typo": typo(text, random.Random(seed)),
        "stop": f"{text}!",
    }[how]


def place_of(content: str) -> float:
    """Where the split puts a content: below a half it may be one of the nearest."""
    digest = hashlib.blake2b(content.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def plain(text: str) -> str:
    return " ".join(text.casefold().split())


@given(rows=st.one_of(families(), scraps()), by=st.sampled_from(["stratified", "nearest"]))
def test_no_row_sees_itself_or_one_of_nearly_equal_content(rows: list[str], by: str) -> None:
    assume(by == "stratified" or any(place_of(plain(row)) < 0.5 for row in rows))
    examples = drawn(pd.DataFrame({"text": rows, "mood": "glad"}), by=by)
    for row, before in zip(rows, examples.before([(row,) for row in rows]), strict=True):
        for text, _ in shown(before):
            assert plain(text) != plain(row)
            assert ratio(plain(text), plain(row)) < 90


@given(rows=st.one_of(families(), scraps()), by=st.sampled_from(["stratified", "nearest"]))
def test_no_row_is_scored_that_was_shown_or_is_nearly_equal_to_one(
    rows: list[str], by: str
) -> None:
    assume(by == "stratified" or any(place_of(plain(row)) < 0.5 for row in rows))
    examples = drawn(pd.DataFrame({"text": rows, "mood": "glad"}), by=by)
    may_be_shown = [plain(each.text) for each in examples.pool]
    for row, served in zip(rows, examples.served((row,) for row in rows), strict=True):
        near = any(ratio(plain(row), text) >= 90 for text in may_be_shown)
        assert served == near


def test_a_row_near_an_example_has_the_others_before_it_only() -> None:
    frame = gold(30)
    examples = drawn(frame, shots=5)
    near = typo(examples.pool[2].text, random.Random(0))
    (before,) = examples.before([(near,)])
    rest = [each.text for at, each in enumerate(examples.pool) if at != 2]
    assert [text for text, _ in shown(before)] == rest


def test_where_all_examples_are_near_nothing_stands_before_the_prompt() -> None:
    examples = drawn(gold(2), shots=1)
    assert examples.before([(examples.pool[0].text,)]) == [""]


@pytest.mark.parametrize("by", ["stratified", "nearest"])
def test_who_copies_the_nearest_label_is_no_better_than_chance_on_shuffled_ones(by: str) -> None:
    # Each content thrice, nearly the same; the label is the content's, and says nothing of it.
    draw = random.Random(5)
    base = sentences(300, seed=5)
    rows = [(text, mood) for text in base for mood in [draw.choice(["glad", "sad"])]]
    frame = pd.DataFrame(
        [(changed(text, how, 0), mood) for text, mood in rows for how in ("same", "typo", "stop")],
        columns=["text", "mood"],
    )
    examples = drawn(frame, shots=8, by=by)
    served = examples.served((text,) for text in frame["text"])
    befores = examples.before([(text,) for text in frame["text"]])
    answers = frame["mood"].map('{{"mood": "{}"}}'.format)
    right = [
        max(shown(before), key=lambda each: ratio(plain(each[0]), plain(text)))[1] == answer
        for text, before, was, answer in zip(frame["text"], befores, served, answers, strict=True)
        if not was
    ]
    # Three of a kind are right or wrong together: 4 standard errors of a third of the rows.
    assert abs(sum(right) / len(right) - 0.5) < 4 * 0.5 / (len(right) / 3) ** 0.5


def test_of_very_many_labels_those_that_are_near_are_found_as_well() -> None:
    frame = gold(3_000)
    examples = drawn(frame, by="nearest")
    assert len(examples.pool) > 1_000
    known = [each.text for each in examples.pool]
    draw = random.Random(2)
    assert all(examples.served((typo(text, draw),) for text in known[:200]))
    others = sentences(200, seed=99, words=14)
    assert sum(examples.served((text,) for text in others)) <= 8


# -- what labels are


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_fields_of_every_type_are_shown_as_the_model_would_answer(kind: str) -> None:
    columns = {
        "text": ["one fine day", "another sad night"],
        "mood": ["glad", "sad"],
        "score": [1.5, 2.0],
        "stars": [5, 1],
        "good": [True, False],
        "when": [date(2026, 11, 30), date(2026, 12, 1)],
        "tags": [["a", "ö"], []],
        "why": ["so", None],
    }
    frame = pd.DataFrame(columns) if kind == "pandas" else pl.DataFrame(columns)
    schema = parse_schema(
        "mood: glad|sad, score: float, stars: int, good: bool, when: date, tags: list[str], "
        "why: str?"
    )
    examples = examples_of(
        frame, template=Template.compile("{text}", ["text"]), schema=schema, shots=2
    )
    assert {answer for _, answer in shown(examples.head)} == {
        '{"mood": "glad", "score": 1.5, "stars": 5, "good": true, "when": "2026-11-30", '
        '"tags": ["a", "ö"], "why": "so"}',
        '{"mood": "sad", "score": 2.0, "stars": 1, "good": false, "when": "2026-12-01", '
        '"tags": [], "why": null}',
    }
    assert all(schema.parse(answer) for _, answer in shown(examples.head))


def test_rows_without_a_label_or_with_one_that_no_answer_may_have_are_left_out_and_told() -> None:
    frame = pd.DataFrame(
        {"text": ["one", "two", "three", None], "mood": ["glad", None, "furious", "sad"]}
    )
    examples = drawn(frame)
    assert [each.text for each in examples.pool] == ["one"]
    assert examples.line.endswith(
        "3 rows can't be shown (field 'mood' is missing: expected one of glad, sad, calm)"
    )


def test_plain_answers_are_shown_as_they_are() -> None:
    frame = pd.DataFrame({"text": ["2 + 2", "3 + 3"], "response": ["4", None]})
    template = JinjaTemplate.compile("What is {{ text|upper }}?", ["text"])
    examples = examples_of(frame, template=template, schema=None)
    assert shown(examples.head) == [("2 + 2", "4")]


def test_the_last_label_of_a_set_holds_and_a_row_that_is_there_gives_its_own_cells() -> None:
    labels = LabelSet("moods")
    labels.add({"text": "one"}, {"mood": "sad"}, reviewer="ann")
    labels.add({"text": "one"}, {"mood": "glad"}, reviewer="ben")
    labels.add({"id": "7"}, {"mood": "calm"})
    labels.add({"id": "8"}, {"mood": "calm"})
    rows = pd.DataFrame({"id": [7, 9], "text": ["seven", "nine"]})
    examples = drawn("moods", rows=wrap(rows), shots=2)
    assert {(each.text, each.answer) for each in examples.pool} == {
        ("one", '{"mood": "glad"}'),
        ("seven", '{"mood": "calm"}'),
    }
    assert "1 row can't be shown (its label isn't known by the prompt's columns" in examples.line


def test_the_classes_that_take_turns_are_those_of_a_field_with_few_values() -> None:
    frame = pd.DataFrame(
        {"text": sentences(40), "note": [f"n{at}" for at in range(40)], "kind": ["a", "b"] * 20}
    )
    schema = parse_schema("note: str, kind: str")
    examples = examples_of(
        frame, template=Template.compile("{text}", ["text"]), schema=schema, shots=4
    )
    assert examples.field == "kind"
    assert Counter(each.stratum for each in examples.pool) == {"a": 2, "b": 2}


# -- what can't be meant


@pytest.mark.parametrize(
    ("given_as", "options", "said"),
    [
        (
            gold().rename(columns={"text": "txt"}),
            {},
            "no column 'text', which the prompt names",
        ),
        (gold().drop(columns="mood"), {}, "has no column 'mood', which answers have as a field"),
        (gold().iloc[:0], {}, "has nothing to show: there is no row in it. Label some rows"),
        (gold().assign(mood="furious"), {}, "has nothing to show: 40 rows can't be shown (field"),
        (gold(6), {"shots": 7}, "--shots is 7, and examples has 6 labels: give --shots 6 or"),
        (
            gold(6),
            {"shots": 6, "by": "nearest"},
            " of 6 labels to show (the others are for",
        ),
        (gold(1), {"by": "nearest"}, "has 1 labels, and their split leaves all of them for scores"),
        ([1, 2], {}, "--examples is a list: give a pandas or polars DataFrame"),
        ("nobody", {}, "--examples nobody is neither a label set nor a frame: "),
    ],
)
def test_what_holds_no_example_is_told_in_one_line_with_the_remedy(
    given_as: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        drawn(given_as, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_set_that_says_nothing_of_the_fields_is_told_with_what_it_has() -> None:
    LabelSet("tones").add({"text": "one"}, {"tone": "warm"})
    with pytest.raises(ColumnError, match="has labels of tone, and the answer's fields are mood"):
        drawn("tones")
    with pytest.raises(ConfigurationError, match="did you mean 'tones'"):
        drawn("tonse")


def test_the_usual_number_of_shots_leaves_half_of_the_labels_for_scores() -> None:
    assert drawn(gold(40)).shots == 8
    assert drawn(gold(10)).shots == 5
    assert drawn(gold(1)).shots == 1
