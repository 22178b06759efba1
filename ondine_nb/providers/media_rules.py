"""What pictures and documents come to in input tokens, by rule, and how large they are seen.

Copies of the rules contradict each other and change with models, so there are two figures: what is
likely, by the model's own rule, for estimates; and what can't be passed, by the largest of all
rules that are known, for the budget.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import TypeAlias

from ..models import PictureLimits

__all__ = ["ANY_MODEL", "MediaRules", "chat_rules", "claude_rules"]

Rule: TypeAlias = Callable[[int, int], int]  # of width and height in pixels

_PAGE_TOKENS = 4_784  # the most that a page's picture comes to, beside its text
_BESIDE = 64  # tokens that stand around a picture or page, by what was measured
_BYTES_A_TOKEN = 4
# What a URL may lead to at most, which nobody here has seen.
_UNSEEN_PX, _UNSEEN_PAGES, _UNSEEN_TEXT = 8_000, 600, 32 * 1024 * 1024


def _patches(px: int, factor: float = 1.0) -> Rule:
    return lambda width, height: ceil(factor * ceil(width / px) * ceil(height / px))


def _tiles(base: int, each: int, px: int = 512) -> Rule:
    return lambda width, height: base + each * ceil(width / px) * ceil(height / px)


def _by_area(width: int, height: int) -> int:
    return ceil(width * height / 750)


def _flat(tokens: int) -> Rule:
    return lambda width, height: tokens


_CLAUDE, _DEAREST_PATCHES, _MANY_TILES = _patches(28), _patches(32, 2.46), _tiles(2_833, 5_667)
_KNOWN = (_CLAUDE, _by_area, _DEAREST_PATCHES, _tiles(85, 170), _tiles(0, 258, 768), _flat(2_240))


@dataclass(frozen=True, slots=True)
class MediaRules:
    """How a model takes pictures and documents: how large, and what they come to in input tokens.

    `limits` is the largest picture that it looks at as it is, `rule` what a picture comes to,
    `page_tokens` what a page's picture mostly comes to beside its text. `others` are rules that the
    bound has to hold, too, because the model may be billed by them. `unseen` is what a picture
    whose size isn't known can't pass, where the server is known to scale it down.
    """

    limits: PictureLimits
    rule: Rule = _CLAUDE
    page_tokens: int = 1_600
    others: tuple[Rule, ...] = field(default=_KNOWN, repr=False)
    unseen: int | None = None

    def picture(self, width: int | None, height: int | None) -> int:
        """The input tokens that a picture of this size likely comes to; None: nobody knows it."""
        if not (width and height):
            width = height = min(self.limits.px, 1_000)
        return self.rule(*self.limits.fit(width, height))

    def most_of_picture(self, width: int | None, height: int | None) -> int:
        """The input tokens that a picture of this size can't pass by any rule that is known.

        Of one whose size nobody knows, those of the largest that is taken.
        """
        if not (width and height):
            if self.unseen is not None:
                return self.unseen
            width = height = _UNSEEN_PX
        return max(rule(width, height) for rule in (self.rule, *self.others)) + _BESIDE

    def document(self, pages: int | None, text_bytes: int) -> int:
        """The input tokens that a document likely comes to."""
        return text_bytes // _BYTES_A_TOKEN + (pages or 10) * self.page_tokens

    def most_of_document(self, pages: int | None, text_bytes: int) -> int:
        """The input tokens that a document can't pass: a token a byte of its text, and its pages.

        Of one that nobody has opened (`pages` None), those of the largest that is taken.
        """
        if pages is None:
            pages, text_bytes = _UNSEEN_PAGES, _UNSEEN_TEXT
        return text_bytes + pages * (_PAGE_TOKENS + _BESIDE)


_UNSEEN_CLAUDE = 2 * _PAGE_TOKENS  # twice what it scales the largest down to
_MEBIBYTE = 1024 * 1024
_SMALL = PictureLimits(1_568, 1_568)
_LARGE = PictureLimits(2_576, 4_784)
# Measured smaller than what is told of them; also the most where a request has over 20 pictures.
_NEWEST = PictureLimits(2_000, 4_784)
_CHAT = PictureLimits(2_048, most_bytes=15 * _MEBIBYTE)

ANY_MODEL = MediaRules(_CHAT)
_OLDER_CLAUDE = re.compile(r"claude-(\d|instant|[a-z]+-(3|4)(?!-[7-9]\b|\d))")
_NEWEST_CLAUDE = re.compile(r"claude-[a-z]+-(5-[5-9]|[6-9])")
_CHAT_RULES: tuple[tuple[str, MediaRules], ...] = (
    # By the model's name; the first that fits holds.
    (r"gpt-4o-mini", MediaRules(_CHAT, _MANY_TILES)),
    (r"gpt-4\.1-nano|gpt-5(\.\d)?-nano", MediaRules(_CHAT, _DEAREST_PATCHES)),
    (r"(gpt-4\.1|gpt-5(\.\d)?|o4)-mini", MediaRules(_CHAT, _patches(32, 1.72))),
    (r"gpt-(4|5(?!\.[5-9]))|^o[134]|chatgpt", MediaRules(_CHAT, _tiles(85, 170))),
    (r"gpt-", MediaRules(_CHAT, _patches(32, 1.2))),
    (
        r"gemini",
        MediaRules(PictureLimits(3_072, most_bytes=7 * _MEBIBYTE), _flat(1_120), page_tokens=1_120),
    ),
    (r"claude", MediaRules(_LARGE, unseen=_UNSEEN_CLAUDE)),
)


def claude_rules(model: str) -> MediaRules:
    """The rules of a model behind the Messages API."""
    limits = _SMALL if _OLDER_CLAUDE.search(model) else _LARGE
    return MediaRules(
        _NEWEST if _NEWEST_CLAUDE.search(model) else limits,
        unseen=_UNSEEN_CLAUDE if "claude" in model else None,
    )


def chat_rules(model: str) -> MediaRules:
    """The rules of a model behind Chat Completions; the usual ones where none are known of it."""
    found = (rules for pattern, rules in _CHAT_RULES if re.search(pattern, model))
    return next(found, ANY_MODEL)
