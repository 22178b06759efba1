"""How the loopback server answers packs: each question by itself, as if it had come alone.

It reads a pack as a model would, by its words, and it gives the answers in another order.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from typing import Any

__all__ = ["GARBLED", "Garbler", "packed_answer", "questions_of", "row_schema_of"]

Body = Mapping[str, Any]
Answers = list[dict[str, Any]]

_BEGINS = re.compile(
    r'Every request begins with this:\n\n(.*?)\n\n(?:Every request ends|Its "text")', re.DOTALL
)
_ENDS = re.compile(r'Every request ends with this:\n\n(.*?)\n\nIts "text"', re.DOTALL)
_CALLED = re.compile(r'In the answers the id is called "(\w+)"')
# What may become of a pack's answer.
GARBLED = ("missing", "doubled", "renamed", "added", "blank", "cut off", "no json", "none at all")


def questions_of(prompt: str) -> dict[str, str] | None:
    """The prompts that a pack's text holds, by id; None where it is no pack."""
    intro, found, lines = prompt.partition("\n\nThe requests:\n")
    if not found:
        return None
    head, tail = _BEGINS.search(intro), _ENDS.search(intro)
    before, behind = (match.group(1) if match else "" for match in (head, tail))
    asked = map(json.loads, lines.split("\n"))
    return {each["id"]: f"{before}{each['text']}{behind}" for each in asked}


def row_schema_of(schema: Mapping[str, Any], id_name: str) -> Mapping[str, Any] | None:
    """What each answer of a pack has to meet beside its id; None for plain text."""
    item = schema["properties"]["answers"]["items"]
    fields = {name: each for name, each in item["properties"].items() if name != id_name}
    if fields == {"answer": {"type": "string"}}:
        return None
    return {**item, "properties": fields, "$defs": schema.get("$defs", {})}


def packed_answer(
    schema: Mapping[str, Any],
    prompt: str,
    value_of: Callable[[Mapping[str, Any], str], Any],
    echo_of: Callable[[str], str],
) -> Answers:
    """The answers to a pack, each following from its own prompt, in another order than asked."""
    id_name = _id_name(prompt)
    row = row_schema_of(schema, id_name)
    answers = []
    for name, question in (questions_of(prompt) or {}).items():
        said = {"answer": echo_of(question)} if row is None else value_of(row, question)
        answers.append({id_name: name, **said})
    random.Random(sha256(prompt.encode()).digest()).shuffle(answers)
    return answers


class Garbler:
    """A server's `answer` that spoils the answers to a share `chance` of all packs, by `kinds`.

    Which ones follows from `seed` and the pack's text. `spoiled` has what it has done.
    """

    def __init__(
        self, chance: float = 1.0, kinds: Collection[str] = GARBLED, *, seed: int = 0
    ) -> None:
        self.chance, self.kinds, self.seed = chance, tuple(kinds), seed
        self.spoiled: list[str] = []

    def __call__(self, body: Body) -> str:
        from .answers import default_answer, prompt_of

        said = default_answer(body)
        prompt = prompt_of(body)
        if questions_of(prompt) is None:
            return said
        asked = "".join((questions_of(prompt) or {}).values())  # ids aren't the same every time
        rng = random.Random(sha256(f"{self.seed}:{asked}".encode()).digest())
        if rng.random() >= self.chance:
            return said
        kind = rng.choice(self.kinds)
        self.spoiled.append(kind)
        return _spoiled(said, kind, rng, _id_name(prompt))


def _id_name(prompt: str) -> str:
    called = _CALLED.search(prompt)
    return called.group(1) if called else "id"


def _spoiled(said: str, kind: str, rng: random.Random, name: str) -> str:
    if kind == "cut off":
        return said[: rng.randrange(20, len(said) - 2)]
    if kind == "no json":
        return "Sure! Here are the answers: " + said.replace("[", "(").replace("{", "<")
    answers: Answers = json.loads(said)["answers"]
    at = rng.randrange(len(answers))
    one = answers[at]
    if kind == "missing":
        del answers[at]
    elif kind == "doubled":
        answers.insert(rng.randrange(len(answers)), {**answers[at - 1], name: one[name]})
    elif kind == "renamed":
        one[name] = one[name][::-1] + "x"
    elif kind == "added":
        answers.insert(at, {**one, name: "zzzzz"})
    elif kind == "blank":
        answers[at] = {name: one[name]}
    elif kind == "none at all":
        answers = []
    else:
        raise ValueError(f"unknown kind {kind!r}; there are {GARBLED}")
    return json.dumps({"answers": answers})
