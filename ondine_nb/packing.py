"""Asking in packs: several short questions in one request, journaled and counted row by row."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from .contracts import ExecutionContext
from .errors import (
    BudgetExceededError,
    RejectedRequestError,
    RowError,
    TimedOutError,
    TransientError,
)
from .inquiries import Inquiry
from .invocation import InvokeStage
from .journal import Entry
from .lines import Line, Part, Request
from .packs import Form, body_of, ids_of
from .providers import Answer, Provider, Reply, Settings
from .rows import Halted, Row

__all__ = ["MOST_BYTES", "PackInvokeStage"]

MOST_BYTES = 40_000  # of the rows' own text in a pack: about 10,000 tokens
_LONG_BYTES = MOST_BYTES // 4  # who has more to say than that isn't short, and goes alone
_IN_VAIN = 3  # packs in a row without one usable answer: then packing does no good here
_FEW = 4  # so many lost ones go alone, not in halves
_MARK = b"p"
_OTHERS = "another run's answer"

Asked = Sequence[tuple[Inquiry, Row]]


class Pack:
    """Questions that go in one request, with the rows that ask them.

    It is `closed` when nothing more is put in, and `second` if its questions were in a pack before.
    One of its rows sends it, under the lock; the others wait for that.
    """

    __slots__ = ("asked", "closed", "lock", "second", "size")

    def __init__(self, asked: Asked = (), *, second: bool = False) -> None:
        self.asked: list[tuple[Inquiry, Row]] = list(asked)
        self.size: int = 0
        self.closed: bool = bool(asked)
        self.second: bool = second
        self.lock: asyncio.Lock = asyncio.Lock()
        for inquiry, _ in self.asked:
            inquiry.pack = self


class PackInvokeStage(InvokeStage):
    """Gets each row's answer from the journal, or from a pack of at most `most` rows.

    Packs go over the line `packed` in the form `form`. What a pack's answer lacks or has twice is
    asked again alone, over the usual line; where it lacks more than a quarter, what is lost goes
    in two halves first. What breaks its schema is asked again alone, too. A packed answer has a
    key of its own in the journal, whatever the size of its pack: it may differ from that of a
    one-row request, which is taken where there is one.
    """

    def __init__(
        self,
        provider: Provider,
        settings: Settings,
        *,
        packed: Line,
        form: Form,
        most: int,
        **given: Any,
    ) -> None:
        super().__init__(provider, settings, **given)
        self.packed = packed
        self.form = form
        self.most = most
        self._open: Pack | None = None
        self._carried: Pack | None = None  # the one that was open when the last chunk was prepared
        self._ripe = False  # whether rows are held whose pack is closed by now
        self._since = 0  # rows prepared since the open pack was begun
        self._patience = 2 * most * self.gate.width
        self._in_vain = 0
        self._reading = asyncio.Lock()

    @property
    def lines(self) -> tuple[Line, ...]:
        return (self.line, self.packed)

    @property
    def gives_up(self) -> bool:
        """Whether packs have come back without any use, so that rows go alone."""
        return self._in_vain >= _IN_VAIN

    # -- the journal: a key of its own, and the answers of one-row requests beside it

    def key(self, prompt: str) -> bytes:
        return super().key(prompt) + _MARK

    def keys(self, prompt: str) -> list[bytes]:
        return [self.key(prompt), super().key(prompt)]

    async def _journaled(self, keys: Sequence[bytes]) -> dict[bytes, list[Entry]]:
        found = await super()._journaled(keys)
        others = {key.removesuffix(_MARK): key for key in keys if key not in found}
        alone = await super()._journaled(list(others)) if others else {}
        return found | {others[key]: entries for key, entries in alone.items()}

    # -- which rows go together

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        self._since += len(rows)
        for inquiry, row in await self._meet(rows):
            if not inquiry.answers and not self.gives_up:
                self._place(inquiry, row)
        self._carried = self._open

    def _place(self, inquiry: Inquiry, row: Row) -> None:
        size = len(self.form.own(row.prompt or "").encode("utf-8", "replace"))
        if size > _LONG_BYTES:
            return
        pack = self._open
        if pack is not None and pack.size + size > MOST_BYTES:
            self._close(pack)
        if (pack := self._open) is None:
            pack = self._open = Pack()
            self._since = 0
        pack.asked.append((inquiry, row))
        pack.size += size
        inquiry.pack = pack
        if len(pack.asked) >= self.most:
            self._close(pack)

    def _close(self, pack: Pack) -> None:
        pack.closed, self._open = True, None
        self._ripe = self._ripe or pack is self._carried

    def holds(self, row: Row) -> bool:
        pack = None if row.inquiry is None else row.inquiry.pack
        return pack is not None and not pack.closed

    @property
    def full(self) -> bool:
        """Whether held rows can go: their pack is closed, or has waited for others long enough."""
        return self._ripe or (self._open is not None and self._since >= self._patience)

    async def gathered(self, context: ExecutionContext) -> None:
        if not self._ripe and self._open is not None:
            self._close(self._open)
        self._ripe = False

    # -- a row on its way

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        inquiry: Inquiry = row.inquiry
        while (pack := inquiry.pack) is not None:
            async with pack.lock:
                if inquiry.pack is pack:
                    await self._send(pack, context)
        await super().process_row(row, context)

    async def _send(self, pack: Pack, context: ExecutionContext) -> None:
        """Ask what is left to ask of a pack; none of its questions is in it any more then."""
        if context.control.stopping:
            raise Halted
        asked = [(inquiry, row) for inquiry, row in pack.asked if not _settled(inquiry)]
        came = await self._try(asked, context) if len(asked) > 1 and not self.gives_up else ""
        for inquiry, _ in pack.asked:
            inquiry.pack = None
        lost = [(inquiry, row) for inquiry, row in asked if not _settled(inquiry)]
        if came in ("answer", "rejection"):
            self._judge(asked, lost, context)
        if came == _OTHERS:
            Pack(lost, second=pack.second)
        elif came:
            self._again(pack, asked, lost)

    async def _try(self, asked: Asked, context: ExecutionContext) -> str:
        """What came of a pack; "" where its questions have to go alone, or have failed."""
        try:
            return "answer" if await self._ask(self._request(asked), context) else _OTHERS
        except RejectedRequestError:  # a single one of them may be to blame
            return "rejection"
        except TimedOutError:
            return "nothing in time"
        except BudgetExceededError:  # one of them alone may still fit
            return ""
        except RowError as error:
            if not self.breaker.exhausted:  # others get answers: it is one of these
                return "failures"
            for inquiry, _ in asked:
                inquiry.failure = error
            return ""

    def _judged(self, error: TransientError, request: Request, context: ExecutionContext) -> float:
        """A pack that takes too long would do so again: it is tried in smaller ones."""
        if request.line is self.packed and isinstance(error, TimedOutError):
            raise error
        return super()._judged(error, request, context)

    def _request(self, asked: Asked) -> Request:
        ids = ids_of([inquiry.key for inquiry, _ in asked])
        prompts = {name: row.prompt or "" for name, (_, row) in zip(ids, asked, strict=True)}
        return Request(self.packed, self.form.request(prompts), asked, ids)

    def _judge(self, asked: Asked, lost: Asked, context: ExecutionContext) -> None:
        """See whether packing does any good; where it doesn't, say so."""
        self._in_vain = self._in_vain + 1 if len(lost) == len(asked) else 0
        if self.gives_up:
            context.gauges.message = (
                f"the last {self._in_vain} packs had no usable answer: rows go one by one"
            )

    def _again(self, pack: Pack, asked: Asked, lost: Asked) -> None:
        """In two halves, if many are lost for the first time; whoever is in no pack goes alone."""
        many = len(lost) > max(_FEW, len(asked) // 4)
        if many and not pack.second and not self.gives_up:
            half = (len(lost) + 1) // 2
            for part in (lost[:half], lost[half:]):
                Pack(part, second=True)

    # -- what comes back

    def _judge_rejection(self, error: RejectedRequestError, request: Request) -> None:
        if request.line is self.line:  # a pack's may be the pack's fault
            super()._judge_rejection(error, request)

    def _learn_pace(self, request: Request, latency: float) -> None:
        """Only packs tell how many at once the server takes: one row alone is much faster."""
        if request.line is self.packed:
            super()._learn_pace(request, latency)
        else:
            self.gate.prove()

    async def _parts(self, request: Request, reply: Reply, answer: Answer | None) -> list[Part]:
        if request.line is self.line or answer is None:
            return await super()._parts(request, reply, answer)
        async with self._reading:  # many at once would hold the loop up
            await asyncio.sleep(0)
            return self._unpacked(request, reply, answer)

    def _unpacked(self, request: Request, reply: Reply, answer: Answer) -> list[Part]:
        """Each question's answer by its id, and its share: all of them together are the reply's."""
        ids = request.ids
        usable = answer.stop_reason != "refusal"
        texts = self.form.read(answer.text, set(ids)) if usable else {}
        message, price = json.loads(reply.body), self.packed.provider.price
        price = None if price is None else price.at(answer.usage.prompt_tokens)
        parts: list[Part] = []
        shares = answer.usage.shares(len(ids))
        for name, usage, (inquiry, row) in zip(ids, shares, request.asked, strict=True):
            about: dict[str, Any] = {"id": name, "rows": len(ids)}
            if not parts and len(texts) < len(ids):
                about["answer"] = answer.text  # as it came, once: something of it is lost
            text = texts.get(name)
            body = body_of(message, text, usage, about)
            cost = None if price is None else price.cost(usage)
            own = None if text is None else Answer(text, "end_turn", usage, 1)  # as in the body
            parts.append(Part(inquiry, row, body, usage, cost, own))
        return parts

    def _show_concurrency(self, context: ExecutionContext) -> None:
        super()._show_concurrency(context)
        gauges = context.gauges
        how = f"{self.most} rows a request"
        gauges.concurrency_note = ", ".join(filter(None, [gauges.concurrency_note, how]))


def _settled(inquiry: Inquiry) -> bool:
    return bool(inquiry.answers) or inquiry.failure is not None
