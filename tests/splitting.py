"""What the tests of long texts share: texts with facts spread over them, and who finds these."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pandas as pd

from ondine_nb.providers import keep
from tests.server import MessagesServer
from tests.server.answers import prompt_of, schema_of

__all__ = ["FACTS", "PROMPT", "answered", "is_merge", "long_text", "of_context", "rows", "said_of"]

PROMPT = "Which facts are in this, and what is its number? {text}"
FACTS = "facts: list[str], number: int?"
_FACT = re.compile(r"\w+ is the colour of \w+")
_NUMBER = re.compile(r"Its number is (\d+)")
_WORDS = ("river", "stone", "light", "of", "the", "and", "seven", "cold", "morning", "nobody")


def long_text(size: int, facts: int, *, seed: int = 0) -> tuple[str, list[str]]:
    """A text of `size` bytes with so many facts spread over it, each once, and these in order."""
    dice, told, parts = random.Random(seed), list[str](), list[str]()
    for number in range(facts):
        room = size // facts
        fact = f"colour{number} is the colour of thing{number}"
        filler = list[str]()
        while sum(map(len, filler)) < room - len(fact) - 160:
            said = " ".join(dice.choice(_WORDS) for _ in range(dice.randint(5, 20)))
            filler.append(f"{said.capitalize()}.{dice.choice(('  ', ' ', chr(10) * 2))}")
        filler.insert(dice.randrange(len(filler) + 1), f"{fact}. ")
        parts += filler
        told.append(fact)
    text = "".join(parts)
    return text + "." * (size - len(text)), told


def is_merge(prompt: str) -> bool:
    """Whether a prompt merges answers about chunks."""
    return prompt.startswith("A text was too long")


def said_of(prompt: str) -> list[Any]:
    """The answers that a merge shows."""
    behind = prompt.rpartition("</request>")[2]
    items = re.findall(r"^\d+\. (.*)$", behind, re.MULTILINE)
    return list(map(json.loads, items))


def answered(body: Any) -> str:
    """The facts in the text, each with its quote where one is asked for; the number that is last.

    Of candidates the larger number wins. Without a schema: how many facts there are.
    """
    prompt, schema = prompt_of(body), schema_of(body)
    merge = is_merge(prompt)
    if schema is None:
        return str(sum(map(int, said_of(prompt))) if merge else len(_FACT.findall(prompt)))
    asked = schema["properties"]
    if merge:
        best = max(said_of(prompt), key=lambda it: it["number"] or 0)
        return json.dumps(best | {"facts": []})
    facts: list[Any] = _FACT.findall(prompt)
    numbers = list(_NUMBER.finditer(prompt))
    answer: dict[str, Any] = {"number": int(numbers[-1].group(1)) if numbers else None}
    if "value" in asked["facts"]["items"].get("properties", {}):
        facts = [{"evidence": fact, "value": fact} for fact in facts]
    if "number_evidence" in asked:
        answer = {"number_evidence": numbers[-1].group() if numbers else "", **answer}
    return json.dumps({"facts": facts, **answer})


def of_context(home: Path, server: MessagesServer, tokens: int) -> None:
    """The server's list of models, as it was had before, says how many tokens they take."""
    models = [{"id": "claude-haiku-5-5", "max_input_tokens": tokens, "max_tokens": 64_000}]
    keep(home, server.url, models)


def rows(*texts: str) -> pd.DataFrame:
    """A frame of these texts."""
    return pd.DataFrame({"text": list(texts)})
