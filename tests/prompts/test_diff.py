"""The difference of two prompts: nothing is lost, words stay whole, placeholders too."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.prompts import word_diff

texts = st.text(st.sampled_from("ab {}.\n"), max_size=40) | st.text(max_size=30)


@given(texts, texts)
def test_both_texts_can_be_made_of_their_difference(before: str, after: str) -> None:
    found = word_diff(before, after)
    assert "".join(text for kind, text in found if kind != "added") == before
    assert "".join(text for kind, text in found if kind != "removed") == after
    assert all(text for _, text in found)
    assert all(one.kind != other.kind for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("a {text}", "a {text}", [("same", "a {text}")]),
        ("Rate {a}.", "Rate {b}.", [("same", "Rate "), ("removed", "{a}"), ("added", "{b}"),
                                    ("same", ".")]),
        ("Give a reason.", "Quote the words.",
         [("removed", "Give a reason"), ("added", "Quote the words"), ("same", ".")]),
        ("one\n", "one\ntwo\n", [("same", "one\n"), ("added", "two\n")]),
    ],
)  # fmt: skip
def test_words_are_taken_out_and_put_in_as_wholes(
    before: str, after: str, found: list[tuple[str, str]]
) -> None:
    assert word_diff(before, after) == found


def test_texts_of_many_lines_that_differ_everywhere_are_told_as_a_whole() -> None:
    before = "".join(f"a {n % 7}\n" for n in range(20_000))
    after = before.replace("a", "b")
    found = word_diff(before, after)
    assert [kind for kind, _ in found] == ["removed", "added", "same"]
    assert found[2].text == " 0\n"
