"""What is asked: under which keys nobody else may ask it meanwhile."""

from __future__ import annotations

from ondine_nb.sending import PACK_MARK
from ondine_nb.sending.question import KEY_BYTES, Question


def test_a_question_alone_is_held_by_its_key() -> None:
    assert Question(b"k" * KEY_BYTES).held_keys == (b"k" * KEY_BYTES,)


def test_a_question_in_a_pack_is_held_as_one_alone_too_whose_answer_it_would_take() -> None:
    alone = b"k" * KEY_BYTES
    assert Question(alone + PACK_MARK).held_keys == (alone + PACK_MARK, alone)


def test_a_key_that_ends_as_a_mark_does_is_one_alone() -> None:
    alone = b"k" * (KEY_BYTES - len(PACK_MARK)) + PACK_MARK
    assert Question(alone).held_keys == (alone,)
