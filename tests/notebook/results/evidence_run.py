"""A run with evidence to look at: contracts, which a model quotes well, nearly, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ondine_nb import Run
from tests.asking import Asker
from tests.server import MessagesServer
from tests.server.answers import prompt_of

__all__ = ["LONG", "SCHEMA", "TEXTS", "ContractServer", "evidence_run"]

SCHEMA = "total: int, notice: str, law: German|Swiss|none, parties: list[str]"
LONG = "This clause is of no importance to anybody. " * 900
TEXTS = [
    "Contract no. 17 🙂 between Müller AG and Hansen ApS.\n\nThe buyer pays 12,400 euros in all. "
    "It may be ended by either party with three months’ notice, in writing.\n\nSwiss law applies, "
    "and no other.",
    "Agreement of Beck & Co. with Ines Roth.\n\nA total of 900 dollars is due. It can’t be "
    "ended before December.\n\nThe law isn’t named.",
    f"Preamble by Ada Lane. {LONG}\n\nThe price of 77 pounds is final; Bo Gray pays it. Notice: "
    "one week. German law applies.",
]


def reply(body: Any) -> str:
    """The answer to a contract: the first quoted verbatim, the others less well."""
    prompt = prompt_of(body)
    if "no. 17" in prompt:
        quotes = ("pays 12,400 euros in all", "three months' notice", "Swiss law applies")
        said: tuple[Any, ...] = (12_400, "three months", "Swiss")
        parties = [("Müller AG", "between Müller AG"), ("Hansen ApS", "Hansen ApS")]
    elif "Ines Roth" in prompt:
        quotes = ("A total of 700 dollars is due", "It can be ended before December", "")
        said = (700, "any time", "none")
        parties = [("Beck & Co.", "Beck & Co."), ("Roth", "Mrs Roth of Hamburg")]
    else:
        quotes = ("The price of 77 pounds is final", "Notice: one week", "German law applies")
        said = (77, "one week", "German")
        parties = [("Ada Lane", "Preamble by Ada Lane"), ("Bo Gray", "Bo Gray pays it")]
    names = ("total", "notice", "law")
    flat: dict[str, Any] = dict(zip(names, said, strict=True))
    flat |= {f"{name}_evidence": quote for name, quote in zip(names, quotes, strict=True)}
    items = [{"evidence": quote, "value": value} for value, quote in parties]
    return json.dumps({**flat, "parties": items})


class ContractServer(MessagesServer):
    """Answers about contracts, with quotes."""

    def __init__(self) -> None:
        super().__init__(answer=reply)


def evidence_run(server: MessagesServer, folder: Path) -> Run:
    """A run over the three contracts that has ended."""
    data = pd.DataFrame({"no": [17, 18, 19], "text": TEXTS})
    run = Run(
        Asker(server, folder).pipeline(
            data, "What is agreed?\n{text}", schema=SCHEMA, evidence="all", max_tokens=2000
        )
    )
    run.execute()
    return run
