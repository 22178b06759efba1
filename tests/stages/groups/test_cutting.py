"""Cutting by content: each item in one piece of the right size, and one more changes few pieces."""

from __future__ import annotations

import random
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.stages.groups import content_hash, cut

SIZES = st.lists(st.integers(1, 60), max_size=200)


def hashes(items: list[str]) -> list[int]:
    return [content_hash(item) for item in items]


@given(SIZES, st.integers(1, 300), st.randoms(use_true_random=False))
def test_each_item_is_in_exactly_one_piece_and_no_piece_is_too_large(
    sizes: list[int], most: int, chance: random.Random
) -> None:
    marks = [chance.getrandbits(64) for _ in sizes]
    pieces = cut(sizes, marks, most)
    assert list(chain.from_iterable(pieces)) == list(range(len(sizes)))
    for piece in pieces:
        assert len(piece) == 1 or sum(sizes[at] for at in piece) <= most
    for piece, following in pairwise(pieces):  # it could have gone on where it is short
        whole = sum(sizes[at] for at in piece)
        assert whole >= most // 3 or whole + sizes[following.start] > most


@given(SIZES, st.integers(0, 40))
def test_a_list_that_fits_is_not_cut_and_one_that_just_does_not_is(
    sizes: list[int], more: int
) -> None:
    marks = list(range(len(sizes)))
    whole = sum(sizes)
    if sizes:
        assert cut(sizes, marks, whole + more) == [range(len(sizes))]
    if len(sizes) > 1:
        assert len(cut(sizes, marks, whole - 1)) > 1


@given(st.lists(st.text(max_size=5), min_size=1, max_size=120), st.integers(3, 40))
def test_the_same_contents_are_cut_alike_wherever_they_stand(items: list[str], most: int) -> None:
    sizes = [len(item) + 1 for item in items]
    pieces = cut(sizes, hashes(items), most)
    end = pieces[0].stop
    rest = cut(sizes[end:], hashes(items[end:]), most)
    assert rest == [range(piece.start - end, piece.stop - end) for piece in pieces[1:]]


@pytest.mark.parametrize("change", ["insert", "remove", "replace"])
def test_one_item_changes_one_piece_in_the_mean_and_three_at_most(change: str) -> None:
    chance = random.Random(7)
    items = [f"row {at} {'x' * chance.randrange(20, 200)}" for at in range(4000)]

    def pieces(of: list[str]) -> set[tuple[str, ...]]:
        made = cut([len(item) for item in of], hashes(of), 24_000)
        return {tuple(of[at] for at in piece) for piece in made}

    before, changed = pieces(items), list[int]()
    for number in range(60):
        at = chance.randrange(len(items))
        new = [f"another {number}"] if change != "remove" else []
        rest = items[at:] if change == "insert" else items[at + 1 :]
        changed.append(len(pieces([*items[:at], *new, *rest]) - before))
    assert max(changed) <= 3
    assert sum(changed) / len(changed) <= 1.3


def test_of_equal_items_pieces_are_equal_and_one_more_changes_the_last_two() -> None:
    marks = [content_hash("same")] * 1001
    before, after = cut([8] * 1000, marks[:1000], 240), cut([8] * 1001, marks, 240)
    assert {len(piece) for piece in before} == {20}
    assert [one for one, other in zip(before, after, strict=False) if one != other][1:] == []
    assert len({len(piece) for piece in after} - {20}) <= 1
