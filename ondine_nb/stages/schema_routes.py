"""How a schema is asked for where nobody knows whether the server enforces it: a probe tells.

A run has several routes then: as it was given, by another API of the same server, in words. They
are tried in this order, each by one small request that is sent as a row's is: from the budget, into
the journal. Nothing is tried before a row has to be sent.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ..errors import (
    BudgetExceededError,
    ConfigurationError,
    FatalProviderError,
    RowError,
)
from ..models import ZERO, Prompt
from ..orchestration import ExecutionContext, Row
from ..providers import (
    PROBE,
    Provider,
    Settings,
    capabilities,
    is_enforced,
    is_for_good,
    keep_probed,
    probe_settings,
    probed,
    refuses_schema,
)
from ..sending import Attempts, Endpoint, Question, Request, Sender, question_key
from ..text import dollars

__all__ = ["Route", "SchemaRoutes"]

logger = logging.getLogger("ondine_nb")


@dataclass(frozen=True, slots=True)
class Route:
    """A way to ask for answers that meet a schema: who is asked, under which settings.

    `by` names it: "" as the run was given, "Chat Completions" the same server by that API, "words"
    with the schema in the system text, where it is enforced by nobody.
    """

    provider: Provider
    settings: Settings
    by: str = ""

    @property
    def in_words(self) -> bool:
        """Whether answers are held to the schema by words alone."""
        return self.by == "words"


class SchemaRoutes:
    """The `routes` of a run, the one that is taken, and what is said of it.

    What probes tell is kept in `folder`, the journal's. `decided` says that nothing has to be tried
    any more; `sent_by` makes a provider of one that sends from elsewhere.
    """

    def __init__(self, routes: Sequence[Route], folder: Path) -> None:
        self.routes = routes
        self.folder = folder
        self.sent_by: Callable[[Provider], Provider] = lambda provider: provider
        self._task: asyncio.Task[None] | None = None
        self._row = Row(-1, (), {})
        self._paid, self._was_paid = ZERO, False
        self._why = ""
        self.taken: int
        self.decided: bool
        self.taken, self.decided = self._known()
        self.note: str = self._told() if self.decided else ""

    @property
    def route(self) -> Route:
        """The one that is taken by now."""
        return self.routes[self.taken]

    @property
    def held_by(self) -> str:
        """What holds answers to the schema, as far as it is known by now."""
        if self.route.in_words:
            return "by words"
        return "not known" if self._why or not self.decided else "by the server"

    @property
    def outlook(self) -> str:
        """What is to be expected of a run that has to send rows, in one line; "" for nothing."""
        if self.decided:
            return self.note
        server, price = self._title(self.routes[0]), self.routes[0].provider.price
        most = "" if price is None else f", for {dollars(self.worst_case)} at most"
        return (
            f"whether {server} enforces the schema isn't known: a probe tells before the first row"
            f"{most}"
        )

    @property
    def worst_case(self) -> Decimal:
        """The most that all probes can cost that aren't decided, in USD; 0 without a price."""
        asked = [self._endpoint(route) for route in self.routes if self._held(route) is None]
        return sum((each.ceiling(each.bound(PROBE)) for each in asked), ZERO)

    def _known(self) -> tuple[int, bool]:
        """The route by what is kept, and whether that is enough to know."""
        for at, route in enumerate(self.routes):
            held = self._held(route)
            if held:
                return at, True
            if held is None:
                return 0, False
        return 0, True

    def _held(self, route: Route) -> bool | None:
        if route.in_words:
            return True
        known = capabilities(route.provider).enforces_schemas
        told = probed(self.folder, route.provider) if known is None else None
        return known if told is None else told.enforced

    async def decide(self, sender: Sender, context: ExecutionContext) -> int:
        """The route to take, found out and said once for all that ask.

        Raises what ends the run; what can't be told, or paid for, leaves the run as it was given.
        """
        if self._task is None:
            self._task = asyncio.ensure_future(self._find(sender, context))
            context.control.bind(asyncio.get_running_loop(), self._stop)
        await asyncio.shield(self._task)
        return self.taken

    def _stop(self, hard: bool) -> None:
        """As a row's: what is in flight goes on to its end, and is journaled."""
        if self._task is not None and (hard or not self._row.sending):
            self._task.cancel()

    async def close(self) -> None:
        """Return when nothing of it is in flight any more."""
        if self._task is not None:
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.exception()  # whoever waited for it has it; at a stop nobody does

    async def _find(self, sender: Sender, context: ExecutionContext) -> None:
        if not self.decided:
            self.taken = await self._first_that_holds(sender, context)
            self.decided, self.note = True, self._told()
        if self.note and not hasattr(builtins, "__IPYTHON__"):  # else the card says it
            logger.log(logging.WARNING if self.taken else logging.INFO, self.note)

    async def _first_that_holds(self, sender: Sender, context: ExecutionContext) -> int:
        metrics = context.metrics
        for at, route in enumerate(self.routes):
            held = self._held(route)
            if held is None:
                trying = f"trying whether {self._title(route)} enforces the schema"
                metrics.message = metrics.message or trying
                try:
                    held = await self._try(route, sender, first=at == 0)
                finally:
                    metrics.message = "" if metrics.message == trying else metrics.message
            if held or (held is None and at == 0):
                break
        return at

    async def _try(self, route: Route, sender: Sender, *, first: bool) -> bool | None:
        """Whether its answers are held to a schema; None where that can't be told."""
        try:
            question = await self._ask(route, sender, patient=first)
        except BudgetExceededError:
            self._why = "the budget has no room for the probe that tells"
            return None
        except (RowError, FatalProviderError, ConfigurationError) as error:
            if first and not isinstance(error, RowError) and not refuses_schema(error):
                raise  # as the first row would
            if first and not refuses_schema(error):
                self._why = str(error)
                return None
            if is_for_good(error):
                await asyncio.to_thread(keep_probed, self.folder, route.provider, False)
            return False
        held = is_enforced(question.answers[0]) if question.answers else None
        if held is None:
            self._why = "its answer to the probe doesn't tell"
        else:
            await asyncio.to_thread(keep_probed, self.folder, route.provider, held)
        return held

    async def _ask(self, route: Route, sender: Sender, *, patient: bool) -> Question:
        """The probe, answered: by the journal, or by a request of its own."""
        endpoint, prompt = self._endpoint(route), Prompt(PROBE)
        key = question_key(route.provider.identity, endpoint.settings)
        key.update(prompt.key_bytes)
        question = Question(bytes(key.digest()))
        await sender.lookup.recall([question])
        if not question.answers:
            # Of an API that it may not have a server may say anything: it is asked twice at most.
            asked, attempts = ((question, self._row),), Attempts(most=None if patient else 2)
            request = Request(endpoint, prompt, asked, attempts=attempts, is_probe=True)
            try:
                sent = await sender.send(request)
            finally:
                with contextlib.suppress(Exception):
                    await endpoint.close()
            if sent and question.answers:
                price, usage = route.provider.price, question.answers[0].usage
                cost = price.cost(usage) if price is not None and usage.known else None
                self._paid += cost or ZERO
                self._was_paid = self._was_paid or cost is None or cost > 0
        return question

    def _endpoint(self, route: Route) -> Endpoint:
        """Where its probe goes."""
        clone = capabilities(route.provider).clone
        assert clone is not None  # else there are no routes
        settings = probe_settings(route.provider.model, route.settings.timeout)
        return Endpoint(self.sent_by(clone()), settings, sets_pace=False)

    def _title(self, route: Route) -> str:
        return capabilities(route.provider).title

    def _told(self) -> str:
        """What the route is, in one line for the card and the log; "" for what goes without saying.

        That is a schema that is enforced, unless a probe was paid that told it.
        """
        server = self._title(self.routes[0])
        cost = f" ({dollars(self._paid)})" if self._paid else ""
        how = f", as a probe told{cost}" if self._was_paid else ""
        if self.taken == 0:
            if self._why:
                return f"whether {server} enforces the schema isn't known: {self._why}"
            return f"{server} enforces the schema{how}" if how else ""
        if self.route.in_words:
            return (
                f"schema by words: {server} enforces none{how}, so it stands in the system text, "
                "and answers that break it are asked again"
            )
        return (
            f"{server} enforces no schema on its Messages API{how}: asked by its {self.route.by}, "
            "which does"
        )
