"""What went wrong on the wire, read from what the SDK raised."""

from __future__ import annotations

from typing import Any

from ..http import says_spent

__all__ = ["is_spent", "said"]

_SPENT_KINDS = {
    "billing_error",
    "insufficient_quota",
    "budget_exceeded",
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "linked_organization_spend_limit_reached",
}


def is_spent(status: int, error: Any) -> bool:
    """Whether an error of the SDK says, by type or words, that the account can't pay for more."""
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error")
    kinds = [getattr(error, "error_code", None)]
    kinds += [inner.get("type"), inner.get("code")] if isinstance(inner, dict) else []
    if status == 402 or any(isinstance(kind, str) and kind in _SPENT_KINDS for kind in kinds):
        return True
    return says_spent(status, said(error))


def said(error: Any) -> str:
    """The server's own word in one line, without what may be a page of HTML."""
    text = error.api_message or ("" if isinstance(error.body, str) else str(error.body or ""))
    return " ".join(str(text).split())[:300] or "no message"
