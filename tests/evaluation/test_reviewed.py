"""Rows that chance drew speak for all rows, by the inverse of their chance."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ondine_nb.evaluation import (
    Draw,
    Drawn,
    Reviewed,
    Scores,
    at_random,
    least_sure,
    one_of_each,
    score_reviewed,
)
from ondine_nb.prompts import Field

FIELD = Field("x", "choice", ("common", "rare"))
HAND = frozenset({Draw()})


def world(seed: int) -> tuple[list[str], list[str]]:
    """1,800 common answers, of which 90 % are right, and 200 rare ones, of which half are."""
    dice = random.Random(seed)
    answers = ["common"] * 1_800 + ["rare"] * 200
    other = {"common": "rare", "rare": "common"}
    right = {"common": 0.9, "rare": 0.5}
    return [it if dice.random() < right[it] else other[it] for it in answers], answers


def review(truths: list[str], answers: list[str], queue: list[Drawn]) -> Scores:
    rows = [
        Reviewed(truths[it.position], answers[it.position], True, frozenset({it.draw}))
        for it in queue
    ]
    return score_reviewed(FIELD, rows, len(answers))


def each(answers: list[str], seed: int) -> list[Drawn]:
    return one_of_each(answers, seed=seed)[:61]  # stopped in the middle of a turn


def any_row(answers: list[str], seed: int) -> list[Drawn]:
    return at_random(len(answers), seed=seed)[:40]


@pytest.mark.parametrize(
    "draw",
    [each, any_row, lambda *given: each(*given) + any_row(*given)],
    ids=["each", "any", "both"],
)
def test_the_estimate_over_all_rows_is_right_on_average_however_rows_were_drawn(
    draw: Callable[[list[str], int], list[Drawn]],
) -> None:
    truths, answers = world(0)
    share = sum(map(str.__eq__, truths, answers)) / len(answers)
    found = [review(truths, answers, draw(answers, seed)) for seed in range(150)]
    mean = sum(it.accuracy or 0 for it in found) / len(found)
    assert mean == pytest.approx(share, abs=0.02)
    held = [it.interval[0] <= share <= it.interval[1] for it in found if it.interval]
    assert sum(held) >= 0.9 * len(found)


def test_without_weights_one_of_each_would_be_far_off() -> None:
    """What the weights are for: half of the reviewed rows are of the rare value."""
    truths, answers = world(1)
    queue = one_of_each(answers)[:200]
    plain = sum(truths[it.position] == answers[it.position] for it in queue) / 200
    found = review(truths, answers, queue)
    assert found.accuracy is not None
    assert plain < 0.8 < found.accuracy
    assert found.scope == (
        "An estimate for the 2,000 rows that these were drawn from by chance (one of each)"
    )


def test_rows_of_other_queues_score_themselves_only_and_say_so() -> None:
    truths, answers = world(2)
    queue = least_sure([position / 2_000 for position in range(2_000)])[:30]
    found = review(truths, answers, queue)
    assert found.n == 30
    assert found.scope == (
        "These rows only (least sure): chance didn't draw them, so the figures say nothing of the "
        "others"
    )


def test_drawn_rows_arent_mixed_with_others() -> None:
    drawn = [Reviewed("rare", "rare", True, frozenset({Draw("random", "", 100)}))] * 5
    others = [Reviewed("rare", "common", True, HAND)] * 7
    found = score_reviewed(FIELD, drawn + others, 100)
    assert (found.n, found.accuracy) == (5, 1.0)
    assert {queue: (it.n, it.accuracy) for queue, it in found.rest.items()} == {
        "picked by hand": (7, 0.0)
    }
    assert "picked by hand, these rows only: 0.0 % right" in repr(found)
    assert "picked by hand" in found._repr_html_()


def test_a_row_that_two_queues_brought_counts_among_the_drawn() -> None:
    both = Reviewed("rare", "rare", True, frozenset({Draw("least sure"), Draw("random", "", 9)}))
    found = score_reviewed(FIELD, [both], 9)
    assert found.n == 1
    assert found.rest == {}


def test_all_rows_labelled_speak_for_all() -> None:
    found = score_reviewed(FIELD, [Reviewed("rare", "rare", True, HAND)] * 3, 3)
    assert found.scope == "All rows are labelled"


def test_rows_without_an_answer_dont_count_and_are_told() -> None:
    rows = [Reviewed("rare", "rare", True, HAND), Reviewed("rare", None, False, HAND)]
    found = score_reviewed(FIELD, rows, 5)
    assert (found.n, found.unanswered, found.accuracy) == (1, 1, 1.0)
    assert "1 labelled row has no answer and doesn't count" in repr(found)


def test_draws_by_the_values_of_two_fields_dont_mix() -> None:
    """Each is an estimate of its own for the same rows: neither doubles them."""
    truths, answers = world(3)
    other = ["even" if position % 2 else "odd" for position in range(len(answers))]
    by_answer = one_of_each(answers, of="x", seed=1)[:60]
    queue = [*by_answer, *one_of_each(other, of="y", seed=1)[:60]]
    found = review(truths, answers, queue)
    assert found.scope == (
        "An estimate for the 2,000 rows that these were drawn from by chance "
        "(one of each x, one of each y)"
    )
    share = sum(map(str.__eq__, truths, answers)) / len(answers)
    assert found.interval is not None
    assert found.interval[0] <= share <= found.interval[1]
