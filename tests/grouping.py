"""What the tests of groups share: a model that counts the rows it is shown, and finds some."""

from __future__ import annotations

import json
import re
from typing import Any

import pandas as pd

from tests.server.answers import prompt_of

__all__ = ["PROMPT", "SCHEMA", "answered", "is_merge", "reviews", "rows_in"]

PROMPT = "What do these reviews of {brand} say?\n\n{text}"
SCHEMA = "n: int, rows: list[row]"
_ITEM = re.compile(r"^(\d+)\. (.*)$", re.MULTILINE)


def reviews(groups: dict[str, int], *, found: int = 50) -> pd.DataFrame:
    """So many rows of each brand, all different; each `found`-th of the frame is a find."""
    brands = [brand for brand, rows in groups.items() for _ in range(rows)]
    words = ("it holds", "came late", "works as told", "broke in a week", "good value for money")
    texts = [
        f"review {at}: {words[at % 5]}{'!' if at % found == 0 else ''}" for at in range(len(brands))
    ]
    return pd.DataFrame({"brand": brands, "text": texts})


def is_merge(prompt: str) -> bool:
    """Whether a prompt merges answers."""
    return prompt.startswith("A list of rows was too long")


def rows_in(prompt: str) -> list[str]:
    """What is numbered in a prompt: the rows, or the answers; checks the numbers."""
    items = _ITEM.findall(prompt.rpartition("</request>")[2])
    assert [int(number) for number, _ in items] == list(range(1, len(items) + 1))
    return [text for _, text in items]


def answered(body: Any) -> str:
    """How many rows there are, and the numbers of those that are finds."""
    prompt = prompt_of(body)
    items = rows_in(prompt)
    if not is_merge(prompt):
        finds = [number for number, text in enumerate(items, 1) if "!" in text]
        return json.dumps({"n": len(items), "rows": finds})
    answers = [json.loads(item) for item in items]
    rows = [row for answer in answers for row in answer["rows"]]
    assert sorted(rows) == list(range(1, len(rows) + 1))  # one list for all parts
    return json.dumps({"n": sum(answer["n"] for answer in answers), "rows": rows})
