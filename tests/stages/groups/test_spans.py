"""A long text in spans: all of it, none too large, overlapping as said, and cut by content."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.stages.groups.spans import LEAST, CutText, cut_text

ALPHABETS = (
    "ab c.\n",
    "привет, мир! \n\n",
    "中文。文字！\n",
    "עברית. \u05b0",
    "हिन्दी। ",
    "👩\u200d👩\u200d👧🏽 é e\u0301\f",
    "\r\n\t \u2028\u2029",
)
TEXTS = st.one_of(
    st.text(max_size=800),
    *(st.text(alphabet, max_size=1_500) for alphabet in ALPHABETS),
    st.lists(st.sampled_from(["One. ", "two ", "\n\n", "\f", "三。", "x" * 40]), max_size=200).map(
        "".join
    ),
).filter(bool)


def size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def pieces(text: str, cut: CutText) -> list[str]:
    return [text[span.start : span.end] for span in cut.spans.values()]


@given(TEXTS, st.integers(LEAST, 400), st.integers(0, 100), st.integers(2, 30))
def test_spans_cover_the_text_within_their_size_and_overlap_as_said(
    text: str, most: int, share: int, fan_in: int
) -> None:
    overlap = min(most * share // 200, most - LEAST)
    cut = cut_text(text, most, fan_in, overlap)
    spans = list(cut.spans.values())
    assert "".join(text[span.own : span.end] for span in spans) == text
    assert [span.own for span in spans] == [0, *(span.end for span in spans[:-1])]
    for span in spans:
        assert 0 <= span.start <= span.own < span.end
        assert size(text[span.start : span.end]) <= most
        shared = size(text[span.start : span.own])
        assert shared <= overlap
        assert shared >= min(size(text[: span.own]), (overlap + 1) // 2 - 3)  # whole characters
    leaves = [node for node in cut.root.walk() if not node.children]
    assert leaves == list(cut.spans)


@given(TEXTS, st.integers(LEAST, 400))
def test_a_text_that_is_no_longer_than_a_span_is_one(text: str, most: int) -> None:
    cut = cut_text(text, max(most, size(text)), 8, 0)
    assert pieces(text, cut) == [text]


def prose(seed: int, sentences: int) -> str:
    dice = random.Random(seed)
    words = ("river", "stone", "light", "of", "the", "and", "seven", "cold", "morning")

    def sentence() -> str:
        said = " ".join(dice.choice(words) for _ in range(dice.randint(4, 18)))
        return f"{said.capitalize()}.{dice.choice((' ', ' ', ' ', chr(10) * 2))}"

    return "".join(sentence() for _ in range(sentences))


def test_an_edit_in_the_middle_changes_the_span_that_has_it_and_few_others() -> None:
    text, dice, changed = prose(1, 2_500), random.Random(2), list[int]()
    before = set(pieces(text, cut_text(text, 2_000, 16)))
    assert len(before) > 60
    for number in range(12):
        at = text.index(" ", dice.randrange(len(text) - 200))
        edited = f"{text[:at]} and a new word {number}{text[at:]}"
        after = pieces(edited, cut_text(edited, 2_000, 16))
        changed.append(sum(piece not in before for piece in after))
    assert max(changed) <= 8
    assert sum(changed) / len(changed) <= 3


@pytest.mark.parametrize(
    ("breaks", "ends"),
    [
        ("\f", "\f"),
        ("\n--- Page 7 of 9 ---\n", "\n"),
        ("\n第 7 页\n", "\n"),
        ("\n\n", "\n\n"),
    ],
)
def test_a_span_ends_at_a_page_before_a_paragraph_and_at_a_paragraph_before_a_sentence(
    breaks: str, ends: str
) -> None:
    weaker = "\n\n" if breaks != "\n\n" else " "
    blocks = [prose(seed, 12).replace("\n\n", " ").strip() for seed in range(30)]
    text = "".join(f"{block}{breaks if at % 2 else weaker}" for at, block in enumerate(blocks))
    cut = cut_text(text, 4 * max(map(size, blocks)), 8, 0)
    assert len(cut.spans) > 4
    for span in list(cut.spans.values())[:-1]:
        stop = text[: span.end]
        assert stop.endswith(ends)
        assert text.startswith(breaks.lstrip(), span.end) or stop.endswith(breaks)


def test_sentences_are_kept_whole_where_they_fit_and_words_where_sentences_do_not() -> None:
    text = prose(3, 400).replace("\n\n", " ")
    own = [text[span.own : span.end] for span in cut_text(text, 1_000, 8).spans.values()]
    assert all(piece.rstrip().endswith(".") for piece in own)
    words = " ".join(f"word{at}" for at in range(2_000))
    cut = cut_text(words, 300, 8)
    assert {it for piece in pieces(words, cut) for it in piece.split()} == set(words.split())


@pytest.mark.parametrize("unit", [".", "\n ", "x", "!)", "\u0301"])
def test_two_megabytes_of_anything_are_cut_in_a_time_that_grows_with_their_length(
    unit: str,
) -> None:
    text = unit * (2_000_000 // size(unit))  # in the square of it this would take hours
    cut = cut_text(text, 100_000, 16)
    assert "".join(text[span.own : span.end] for span in cut.spans.values()) == text
