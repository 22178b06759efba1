"""Finds a quote in texts: verbatim, normalised, by its letters, in parts, or nearly so.

The first way that finds it says how sure it is: `exact` as it stands there, `near` where it
differs in form or by slips of the pen, `approximate` where it may say something else, `missing`
where nothing like it is there. What is looked for nearly costs up to some milliseconds for each
10,000 characters, and goes through the text a window at a time: no call of the C library holds the
interpreter for longer than one takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .folding import Folded, SourceText, folded
from .guard import cuts_number, negates, same_meaning

__all__ = ["MATCHES", "MISSING", "Evidence", "Finder"]

MATCHES: tuple[str, ...] = ("exact", "near", "approximate", "missing")

_FEWEST_LETTERS = 12  # by which a quote is known without what stands between them
_FEWEST_FUZZY = 12
_SHORT = 24  # a short quote has to fit better
_CUTOFF, _ENOUGH, _ENOUGH_SHORT = 77.0, 85.0, 90.0
_MOST_FUZZY_QUOTE = 5_000  # a longer one would hold the interpreter for long
_LONGEST_FUZZY = 200  # characters of a quote that are looked for nearly; longer: both ends
_WINDOW = 8_000
_SURE = 98.0
_PART, _GAP = 6, 2_000  # characters of a part around an ellipsis, and between two
_SHORT_GAP = 300
_ELLIPSIS = re.compile(r"\s*(?:\[\s*(?:\.\.\.|…)\s*\]|\(\s*(?:\.\.\.|…)\s*\)|\.{3,}|…)\s*")
_MARKS = "\"'“”„‟‘’‚‛«»‹›「」`"
# Characters that are searched nearly for one row's quotes: seconds at worst.
_MOST_FUZZY = 20_000_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a quote stands: `text` as in the source, `start` and `end` in characters of `column`.

    `match` is one of `MATCHES`; of a missing quote the rest is None.
    """

    match: str
    text: str | None = None
    start: int | None = None
    end: int | None = None
    column: str | None = None

    @property
    def doubtful(self) -> bool:
        """Whether it may not say what the value rests on."""
        return self.match in ("approximate", "missing")


MISSING = Evidence("missing")


class Finder:
    """Finds quotes in the texts of one row, given by column. What is made of a text, it keeps."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.sources: list[SourceText] = [SourceText(*each) for each in texts.items()]
        self._left = _MOST_FUZZY

    def verbatim(self, quote: str) -> Evidence | None:
        """The quote where it stands as it is; takes microseconds."""
        quote = quote.strip()
        for source in self.sources if quote else ():
            if (start := _best(source.text, quote)) is not None:
                return _evidence(source, start, start + len(quote), "exact")
        return None

    def find(self, quote: str) -> Evidence:
        """The quote where it, or what is nearest to it, stands."""
        found = self.verbatim(quote)
        bare = _ELLIPSIS.sub("", quote[:8]) + quote[8:] if found is None else ""
        bare = bare.strip().strip(_MARKS).strip()
        ways = (self._normalised, self._letters, self._parts, self._nearly)
        for way in ways if found is None and bare else ():
            if (found := way(bare)) is not None:
                break
        return found or MISSING

    # -- the ways

    def _normalised(self, quote: str) -> Evidence | None:
        wanted = folded(quote).text.strip().rstrip(".…")
        for source in self.sources if wanted else ():
            form = source.normalised
            at = _best(form.text, wanted, whole=len(wanted) < 4)
            if at is not None:
                return _evidence(source, *form.span(at, at + len(wanted)), "near")
        return None

    def _letters(self, quote: str) -> Evidence | None:
        wanted = folded(quote).only_letters().text
        if len(wanted) < _FEWEST_LETTERS:
            return None
        for source in self.sources:
            at = source.letters.text.find(wanted)
            if at >= 0:
                return _guarded(source, *source.letters.span(at, at + len(wanted)), quote)
        return None

    def _parts(self, quote: str) -> Evidence | None:
        parts = [folded(part).text.strip(" .") for part in _ELLIPSIS.split(quote)]
        if len(parts) < 2 or any(len(part) < _PART for part in parts):
            return None
        for source in self.sources:
            spans = _in_order(source.normalised, parts)
            if spans:
                gaps = [source.text[a:b] for (_, a), (b, _) in pairwise(spans)]
                short = all(len(gap) <= _SHORT_GAP and not negates(gap) for gap in gaps)
                match = "near" if short else "approximate"
                return _evidence(source, spans[0][0], spans[-1][1], match)
        return None

    def _nearly(self, quote: str) -> Evidence | None:
        wanted = folded(quote).text.strip()
        if not _FEWEST_FUZZY <= len(wanted) <= _MOST_FUZZY_QUOTE:
            return None
        enough = _ENOUGH if len(wanted) >= _SHORT else _ENOUGH_SHORT
        best: tuple[float, SourceText, int, int] | None = None
        for source in self.sources:
            if self._left < len(source.normalised.text):
                continue
            self._left -= len(source.normalised.text)
            least = enough if best is None else best[0] + 0.01
            found = nearest_span(wanted, source.normalised.text, least)
            if found is not None:
                best = (found[0], source, found[1], found[2])
        if best is None:
            return None
        _, source, start, end = best
        return _guarded(source, *source.normalised.span(start, end), quote)


def _evidence(source: SourceText, start: int, end: int, match: str) -> Evidence:
    return Evidence(match, source.text[start:end], start, end, source.column)


def _guarded(source: SourceText, start: int, end: int, quote: str) -> Evidence:
    """What was found, `near` if it says what the quote says."""
    same = same_meaning(quote, source.text[start:end]) and not cuts_number(source.text, start, end)
    return _evidence(source, start, end, "near" if same else "approximate")


def _best(text: str, wanted: str, *, whole: bool = False) -> int | None:
    """Where `wanted` stands, first where it cuts no word, else (unless `whole`) first at all."""
    first = at = text.find(wanted)
    for _ in range(100):
        if at < 0:
            break
        if not _cuts_word(text, at, at + len(wanted)):
            return at
        at = text.find(wanted, at + 1)
    return first if first >= 0 and not whole else None


def _cuts_word(text: str, start: int, end: int) -> bool:
    """Whether a word or number goes on at either end of `text[start:end]`."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return (
        (before.isalnum() and text[start].isalnum())
        or (after.isalnum() and text[end - 1].isalnum())
        or cuts_number(text, start, end)
    )


def _in_order(form: Folded, parts: Sequence[str]) -> list[tuple[int, int]]:
    """Where the parts stand one behind another, not too far apart; [] where they don't."""
    start = form.text.find(parts[0])
    for _ in range(20):
        if start < 0:
            break
        spans, end = [(start, start + len(parts[0]))], start + len(parts[0])
        for part in parts[1:]:
            at = form.text.find(part, end, end + _GAP + len(part))
            if at < 0:
                break
            spans.append((at, end := at + len(part)))
        if len(spans) == len(parts):
            return [form.span(*span) for span in spans]
        start = form.text.find(parts[0], start + 1)
    return []


# -- nearly


def nearest_span(wanted: str, text: str, enough: float) -> tuple[float, int, int] | None:
    """The part of `text` that is most like `wanted`: its likeness of 100, start and end.

    None where none reaches `enough`. A long quote is looked for by its two ends.
    """
    if len(wanted) >= len(text):  # the longer would be sought in the shorter
        return _scored(wanted, text, 0, len(text), enough)
    if len(wanted) <= _LONGEST_FUZZY:
        return _searched(wanted, text, enough)
    head = _searched(wanted[:_LONGEST_FUZZY], text, enough)
    if head is None:
        return None
    end = min(head[1] + len(wanted) * 5 // 4, len(text))
    tail = _searched(wanted[-_LONGEST_FUZZY:], text[head[1] : end], enough)
    return None if tail is None else _scored(wanted, text, head[1], head[1] + tail[2], enough)


def _searched(wanted: str, text: str, enough: float) -> tuple[float, int, int] | None:
    from rapidfuzz import fuzz

    best: tuple[float, int, int] | None = None
    cutoff = _CUTOFF
    for start in _windows(len(text), 2 * len(wanted)):
        window = text[start : start + _WINDOW + 2 * len(wanted)]
        found = fuzz.partial_ratio_alignment(wanted, window, score_cutoff=cutoff)
        if found is None or len(window) < len(wanted):
            continue
        cutoff = max(cutoff, min(found.score, 100.0))
        trimmed = _trimmed(wanted, text, start + found.dest_start, start + found.dest_end, enough)
        if trimmed is not None and (best is None or trimmed[0] > best[0]):
            best = trimmed
            if best[0] >= _SURE:
                break
    return best


def _windows(length: int, overlap: int) -> Iterator[int]:
    return iter(range(0, max(length - overlap, 1), _WINDOW))


def _trimmed(
    wanted: str, text: str, start: int, end: int, enough: float
) -> tuple[float, int, int] | None:
    """The span without what the quote hasn't at its ends, whole words at both."""
    from rapidfuzz.distance import Levenshtein

    room = 4 + len(wanted) // 10
    start, end = max(start - room, 0), min(end + room, len(text))
    steps = [op for op in Levenshtein.opcodes(wanted, text[start:end]) if op.tag == "equal"]
    long = [op for op in steps if op.src_end - op.src_start >= 3] or steps
    if not long:
        return None
    # What the quote has before the first run that both have, and behind the last, it has there too.
    begin = max(start + long[0].dest_start - long[0].src_start, start)
    stop = min(start + long[-1].dest_end + len(wanted) - long[-1].src_end, end)
    begin, stop = _to_words(text, begin, stop)
    return _scored(wanted, text, begin, stop, enough)


def _to_words(text: str, start: int, end: int) -> tuple[int, int]:
    """The span with the words whole that it cuts, or without them, whichever changes it less."""
    start, end = _word_edge(text, start), _word_edge(text, end)
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _word_edge(text: str, at: int) -> int:
    """The nearest place to `at` where no word goes on, or `at` where there is none near."""
    for away in range(12):
        for place in (at - away, at + away):
            if not 0 < place < len(text):
                return min(max(place, 0), len(text))
            if not (text[place - 1].isalnum() and text[place].isalnum()):
                return place
    return at


def _scored(
    wanted: str, text: str, start: int, end: int, enough: float
) -> tuple[float, int, int] | None:
    from rapidfuzz import fuzz

    score = fuzz.ratio(wanted, text[start:end])
    return (score, start, end) if score >= enough and end > start else None
