"""Tells a quote with slips of the pen from one whose meaning was turned.

Two texts pass where they have the same numbers and the same negations and where no word stands for
another: what differs are slips within words. A guard that can't tell says no.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from .folding import folded

__all__ = ["cuts_number", "negates", "same_meaning"]

# Each sign of these scripts is a word of its own: there are no blanks between words.
_SIGNS = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# With its sign and its unit's: -5, 1,000.50, 12:30, < 3, € 5, 4 %.
_NUMBER = r"(?:[<>≤≥±~=$€£¥]\s?|(?<!\w)-)*\d+(?:[.,:/']\d+)*(?:\s?[%‰°€$£¥](?!\s?\d))?"
_WORDS = re.compile(rf"{_NUMBER}|[{_SIGNS}]|(?:(?![{_SIGNS}\d])\w|'(?=\w)|(?<=\w)\d)+|!=")
_THOUSANDS = re.compile(r"(?<=\d)[,'.](?=\d{3}(?!\d))")
_MARKS = re.compile("[\u0300-\u036f]")

_NEGATING = """
not no none never neither nor without cannot cant nothing nobody nowhere except unless hardly
nicht kein keine keinen keinem keiner keines nie niemals ohne weder noch nichts niemand außer
ausser ne n pas jamais sans aucun aucune ni rien non nunca sin ningún ninguno ninguna jamás
tampoco nada mai senza nessun nessuno nessuna né neanche não sem nenhum nenhuma nem niet geen
nooit zonder inte ej aldrig utan ingen inget ikke uden uten ei en et emme ette eivät älä ilman
nie bez nigdy żaden żadna není nikdy žádný žádná değil yok hayır tidak bukan tanpa belum jangan
không chưa chẳng đừng не нет ни без никогда нельзя немає ні ніколи δεν δε μη μην όχι χωρίς ποτέ
לא אין בלי אל لا لم لن ليس ليست غير بدون دون नहीं न मत बिना 안 못 아닌 아니
不 没 沒 無 无 非 未 别 別 勿 否 莫
"""
_WITHIN_WORDS = (
    "n't",
    "않",
    "없",
    "ない",
    "なし",
    "ません",
    "ずに",
    "isnt",
    "dont",
    "wont",
    "doesnt",
)
_MOST_WORDS = 1_000  # of a quote that is compared word by word
_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "mis", "anti", "de", "ent", "miss", "не")
_ROLES = (("er", "ee"), ("or", "ee"))  # employer and employee, lessor and lessee


def _plain(text: str) -> str:
    """The text folded, without accents."""
    return _MARKS.sub("", folded(text).text)


_NEGATIONS: frozenset[str] = frozenset([*map(_plain, _NEGATING.split()), "!="])
_INSIDE = re.compile("|".join(map(_plain, _WITHIN_WORDS)))


def same_meaning(quote: str, source: str) -> bool:
    """Whether `quote` says what `source` says, but for slips of the pen within words."""
    one, other = words(quote), words(source)
    if one == other:
        return True
    return (
        max(len(one), len(other)) <= _MOST_WORDS
        and Counter(filter(_has_digit, one)) == Counter(filter(_has_digit, other))
        and negates(quote) == negates(source)
        and all(_slip(*pair) for pair in _differing(one, other))
    )


def negates(text: str) -> Counter[str]:
    """The negations in a text: words of several languages, and endings that negate."""
    found = Counter(word for word in words(text) if word in _NEGATIONS)
    found.update(_INSIDE.findall(_plain(text)))
    return found


def words(text: str) -> list[str]:
    """The words of a text, folded; a number is one with its sign, unit sign and decimals."""
    found = _WORDS.findall(_plain(text))
    return [_plain_number(word) if _has_digit(word) else word for word in found]


def cuts_number(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]` begins or ends within a number, or leaves out its minus sign."""
    inside = text[start:end]
    before, after = text[max(start - 3, 0) : start], text[end : end + 2]
    begins = inside[:1].isdigit() and re.search(r"\d[.,]?$|(?<![\w)])[-\u2212]$", before)
    return bool(begins or (inside[-1:].isdigit() and re.match(r"[.,]?\d", after)))


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def _plain_number(word: str) -> str:
    return _THOUSANDS.sub("", re.sub(r"\s", "", word))


def _differing(one: list[str], other: list[str]) -> Iterator[tuple[str, str]]:
    """What stands in one and for it in the other, where they differ: word for word.

    Where one has more words there than the other, all of them as one: two may be written as one.
    """
    from rapidfuzz.distance import Levenshtein

    ends = [(0, 0)]
    for op in Levenshtein.opcodes(one, other):
        if op.tag == "equal":
            ends += [(op.src_start, op.dest_start), (op.src_end, op.dest_end)]
    ends.append((len(one), len(other)))
    for (a, c), (b, d) in zip(ends[::2], ends[1::2], strict=True):
        if b - a == d - c:
            yield from zip(one[a:b], other[c:d], strict=True)
        else:
            yield "".join(one[a:b]), "".join(other[c:d])


def _slip(one: str, other: str) -> bool:
    """Whether one word is the other with a slip or two, and not another word."""
    if one == other:  # two words written as one, or one as two
        return True
    short, long = sorted((one, other), key=len)
    if len(short) < 4 or one[0] != other[0]:
        return False
    if any(long == prefix + short for prefix in _PREFIXES):
        return False
    if any({one[-2:], other[-2:]} == set(ends) for ends in _ROLES):
        return False
    from rapidfuzz.distance import OSA

    distance = OSA.distance(one, other)
    return distance <= 1 or (distance == 2 and len(short) >= 8 and one[:2] == other[:2])
