"""The tests' own HTTP server: faults, limits, batches, and a ledger of what was billed to whom."""

from __future__ import annotations

from .chat import CHAT_MODELS
from .ledger import Arrival, Billed, Ledger
from .media import Seen, seen_in
from .rules import MODELS
from .server import FAULTS, THINKING_TOKENS, MessagesServer, Servers, echo_of, value_of

__all__ = [
    "CHAT_MODELS",
    "FAULTS",
    "MODELS",
    "THINKING_TOKENS",
    "Arrival",
    "Billed",
    "Ledger",
    "MessagesServer",
    "Seen",
    "Servers",
    "echo_of",
    "seen_in",
    "value_of",
]
