"""Real texts, and quotes of them as models give them: verbatim, reformatted, misspelt, made up."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from pydoc_data.topics import topics

__all__ = ["QUOTES", "Quote", "quoted", "real_texts", "rows"]

_LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "METADATA")
_QUOTED, _TYPOS = 120, 4
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_NUMBER = re.compile(r"(?<![\w.,-])\d+(?![\w.,]*\d)")
_NOT = re.compile(r" (not|never|no|cannot) ")


@cache
def real_texts() -> tuple[str, ...]:
    """Topics of Python's manual, licences and descriptions of installed packages; each once."""
    found = dict.fromkeys(topics.values())
    for one in sorted(distributions(), key=lambda each: str(each.metadata["Name"]).lower()):
        for path in one.files or ():
            if path.name.upper().startswith(_LICENCES):
                text = Path(str(path.locate())).read_text("utf-8", errors="replace")
                found[text] = None
    return tuple(text for text in found if 500 <= len(text) <= 500_000)


def rows(count: int, seed: int = 0) -> Iterator[tuple[str, random.Random]]:
    """So many texts, each with dice of its own: all that there are, in turn."""
    texts = real_texts()
    for at in range(count):
        yield texts[at % len(texts)], random.Random(f"{seed} {at}")


def verbatim(text: str, dice: random.Random) -> str:
    """Some 120 characters from one word to another."""
    for _ in range(50):
        start = dice.randrange(max(len(text) - 2 * _QUOTED, 1))
        start = text.find(" ", start) + 1
        found = text[start : start + _QUOTED].rsplit(" ", 1)[0].strip()
        if sum(map(str.isalnum, found)) > 60:
            return found
    return text[:_QUOTED].strip()


def reformatted(text: str, dice: random.Random) -> str:
    """White space changed, quotation marks and dashes exchanged, sometimes the case."""
    blanks = (" ", "  ", "\n", " \n    ", "\t")
    found = re.sub(r"\s+", lambda _: dice.choice(blanks), verbatim(text, dice))
    found = found.replace("'", dice.choice("'’")).replace("-", dice.choice("-–"))
    return dice.choice((found, found, found.upper(), f"“{found}”"))


def misspelt(text: str, dice: random.Random, typos: int = _TYPOS) -> str:
    """Letters replaced, left out, doubled or turned about, up to four in 120."""
    found = list(verbatim(text, dice))
    for _ in range(dice.randint(1, typos)):
        at = dice.choice([at for at, char in enumerate(found[:-1]) if char.isalpha()])
        way = dice.randrange(4)
        if way == 0:
            found[at] = dice.choice(_LETTERS)
        elif way == 1:
            found[at] = ""
        elif way == 2:
            found[at] *= 2
        else:
            found[at], found[at + 1] = found[at + 1], found[at]
        found = list("".join(found))
    return "".join(found)


def invented(text: str, dice: random.Random) -> str:
    """What isn't there: words of a passage in another order, or a passage of another text."""
    words = verbatim(text, dice).split()
    if len(words) > 12 and dice.random() < 0.5:
        dice.shuffle(words)
        return " ".join(words)
    texts, letters = real_texts(), _letters(text)
    while True:
        found = verbatim(dice.choice(texts), dice)
        if not any(_letters(found)[at : at + 25] in letters for at in range(0, 60, 5)):
            return found


@cache
def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def turned(text: str, dice: random.Random) -> str | None:
    """A number changed, or a negation dropped; None where the text has neither."""
    places = [*_NUMBER.finditer(text), *_NOT.finditer(text)]
    if not places:
        return None
    place = dice.choice(places)
    start = text.rfind(" ", 0, max(place.start() - 50, 0)) + 1
    end = text.find(" ", place.end() + 50)
    end = len(text) if end < 0 else end
    other = " "
    if place.group().isdigit():
        other = str(int(place.group()[:15]) + dice.randint(1, 9))
    return text[start : place.start()] + other + text[place.end() : end]


Quote = Callable[[str, random.Random], str | None]
QUOTES: dict[str, Quote] = {
    "verbatim": verbatim,
    "reformatted": reformatted,
    "misspelt": misspelt,
    "invented": invented,
    "turned": turned,
}


def quoted(text: str, kind: str, dice: random.Random) -> str | None:
    """A quote of one of the `QUOTES`."""
    return QUOTES[kind](text, dice)
