"""What a simulated world must never show."""

from __future__ import annotations

__all__ = ["Breach", "Killed", "demand"]


class Breach(AssertionError):  # noqa: N818 - the field's word
    """A promise is broken."""


class Killed(BaseException):
    """The process ends here, and nothing of it runs any more."""


def demand(holds: bool, *told: object) -> None:
    """Raise `Breach`, with what is `told` of it, unless this holds."""
    if not holds:
        raise Breach(" ".join(map(str, told)))
