"""A server whose model sees no pictures says so in many ways, and one line ends the run."""

from __future__ import annotations

import pytest

from ondine_nb.providers.http import no_eyes


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
        (500, "this model is missing data required for image input"),
        (400, "smollm2 is not a multimodal model"),
        (400, "The model llama3 does not support images"),
        (422, "This model does not support vision"),
    ],
)
def test_it_is_known_by_its_words(status: int, told: str) -> None:
    error = no_eyes(status, told, "the server", "smollm2")
    assert error is not None
    assert str(error).startswith("the server takes no pictures for 'smollm2'")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (429, "image input is not supported"),
        (400, "the image is too large"),
        (400, "messages.0.content: " + "x" * 90 + " does not support images"),
    ],
)
def test_other_errors_and_a_rows_own_words_are_not_it(status: int, told: str) -> None:
    assert no_eyes(status, told, "the server", "smollm2") is None
