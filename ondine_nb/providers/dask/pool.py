"""The workers of a Dask cluster as a run sees them: who is there, what each has, what comes back.

Everything that a run decides, it decides here, on its own loop: a worker is handed requests and
sends them. Each has at most two calls under way, one that hands in and one that waits for answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from ... import __version__
from ...errors import ConfigurationError, ConnectionLostError, FatalProviderError
from ..base import Reply
from .cluster import Cluster, join
from .worker import Outcome, clear, collect, error_of, greet, hand_in, open_endpoint

__all__ = ["WorkerPool"]

logger = logging.getLogger("ondine_nb")

_GATHER_SECONDS = 0.005  # requests that are sent together are handed in together
_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 0.2
_TRIES = 10
_LEAVE_SECONDS = 2.0


class _LostError(Exception):
    """A worker is there no more, or has forgotten what it was handed."""


class _PendingRequest:
    """One request on its way, and who has it."""

    __slots__ = ("at", "came", "endpoint", "number", "prompt")

    def __init__(self, number: int, endpoint: int, prompt: Any) -> None:
        self.number, self.endpoint, self.prompt = number, endpoint, prompt
        self.came: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.at: _Worker | None = None


class _Worker:
    """One worker: `waiting` are the requests for it, `handed` those that it has got."""

    def __init__(self, fleet: WorkerPool, address: str, name: str) -> None:
        self.address, self.name = address, name
        self.endpoints: set[int] = set()
        self.opening = asyncio.Lock()
        self.waiting: dict[int, _PendingRequest] = {}
        self.handed: dict[int, _PendingRequest] = {}
        self._fleet = fleet
        self._withdrawn: list[int] = []
        self._to_give, self._to_get = asyncio.Event(), asyncio.Event()
        self._loops = [asyncio.create_task(loop()) for loop in (self._give, self._get)]
        for loop in self._loops:
            loop.add_done_callback(self._ended)

    @property
    def load(self) -> int:
        return len(self.waiting) + len(self.handed)

    def take(self, pending: _PendingRequest) -> None:
        pending.at = self
        self.waiting[pending.number] = pending
        self._to_give.set()

    def withdraw(self, pending: _PendingRequest) -> None:
        """The request isn't wanted any more."""
        self.waiting.pop(pending.number, None)
        if self.handed.pop(pending.number, None) is not None:
            self._withdrawn.append(pending.number)
            self._to_give.set()

    def end(self) -> None:
        for loop in self._loops:
            loop.cancel()

    async def _give(self) -> None:
        while True:
            await self._to_give.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._to_give.clear()
            given, self.waiting = self.waiting, {}
            withdrawn, self._withdrawn = self._withdrawn, []
            self.handed |= given
            self._to_get.set()
            requests = [(each.number, each.endpoint, each.prompt) for each in given.values()]
            await self.call(hand_in, requests, withdrawn)

    async def _get(self) -> None:
        taken: list[int] = []
        while True:
            await self._to_get.wait()
            came: list[Outcome] = await self.call(collect, taken)
            taken = [number for number, _ in came]
            for number, outcome in came:
                pending = self.handed.pop(number, None)
                if pending is not None:
                    _tell(pending, outcome)
            if not self.handed:
                self._to_get.clear()

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the worker's sender says. Raises `_LostError` where there is none any more."""
        said = await self._fleet.call(self.address, function, self.name, *args)
        if said is None:
            raise _LostError
        return said

    def _ended(self, loop: asyncio.Task[None]) -> None:
        if not loop.cancelled() and loop.exception() is not None:
            self._fleet.lose(self)


def _tell(pending: _PendingRequest, outcome: Reply | bytes) -> None:
    if pending.came.done():
        return
    if isinstance(outcome, Reply):
        pending.came.set_result(outcome)
    else:
        pending.came.set_exception(error_of(outcome))


class WorkerPool:
    """The workers at `place` (as in `clusters.join`), joined at the first endpoint that is opened.

    Raises `ConfigurationError` where a run can't begin, and fails what is sent with a
    `FatalProviderError` where there was no worker for `patience` seconds.
    """

    def __init__(self, place: Any = None, *, workers: int | None = None, patience: float) -> None:
        self.place, self.patience = place, patience
        self._local_workers = workers
        self._cluster: Cluster | None = None
        self._orders: dict[int, bytes] = {}
        self._numbers, self._names = itertools.count(), itertools.count()
        self._run = secrets.token_hex(8)
        self._known: dict[str, _Worker] = {}
        self._refused: dict[str, str] = {}
        self._stranded: list[_PendingRequest] = []  # for whom there is no worker now
        self._joining = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._alone_since: float | None = None

    # -- what a provider does with it

    async def open_endpoint(self, order: bytes) -> int:
        """Have all workers open the provider in `order`; gives the endpoint's number.

        Raises `ConfigurationError` for a worker that can't, naming it.
        """
        number = next(self._numbers)
        self._orders[number] = order
        try:
            async with self._joining:
                await self._join()
            problems = await self._prepare(self._known.values())
            if problems:
                raise ConfigurationError(problems[0])
        except BaseException:
            del self._orders[number]
            raise
        return number

    async def send(self, endpoint: int, prompt: Any) -> Reply:
        """The reply to a request that a worker sends. Raises what the provider raises there."""
        pending = _PendingRequest(next(self._numbers), endpoint, prompt)
        self._place(pending)
        try:
            return await pending.came
        except asyncio.CancelledError:
            if pending.at is not None:
                pending.at.withdraw(pending)
            raise

    async def close_endpoint(self, number: int | None) -> None:
        """Let go of the workers when nothing is open any more."""
        if number is not None:
            self._orders.pop(number, None)
        if not self._orders and self._cluster is not None:
            cluster, self._cluster = self._cluster, None
            await self._leave(cluster)

    # -- who is there

    async def _join(self) -> None:
        """Connect, and wait until there is a worker."""
        if self._cluster is not None:
            return
        self._cluster = await join(self.place, self._local_workers)
        self._spawn(self._watch())
        loop = asyncio.get_running_loop()
        end = loop.time() + self.patience
        while True:
            with contextlib.suppress(OSError):
                await self._look()
            if self._known:
                return
            if loop.time() > end:
                raise ConfigurationError(self._nobody())
            await asyncio.sleep(_AGAIN_SECONDS)

    def _nobody(self) -> str:
        assert self._cluster is not None
        return (
            f"{self._cluster.name} has had no worker for {self.patience:g} s: start some "
            "(`dask worker ADDRESS`, or cluster.scale(n)), then run again: what is answered is not "
            "paid again"
        )

    async def _watch(self) -> None:
        """Notice who comes and who goes."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(OSError):  # the scheduler doesn't answer now
                new = await self._look()
                if new:
                    self._spawn(self._welcome(new))
            self._lose_patience()

    async def _look(self) -> list[_Worker]:
        """Ask who is there. Gives those that weren't; requests of those that are gone are lost."""
        assert self._cluster is not None
        there = await self._cluster.workers()
        for address in self._known.keys() - there:
            self.lose(self._known[address])
        new = there - self._known.keys() - self._refused.keys()
        for address in new:
            self._known[address] = _Worker(self, address, f"{self._run}-{next(self._names)}")
        return [self._known[address] for address in new]

    async def _welcome(self, posts: Iterable[_Worker]) -> None:
        """Put late workers to work; one that can't is left out, and that is said."""
        for problem in await self._prepare(posts):
            logger.warning("%s. It is left out of this run", problem)

    async def _prepare(self, posts: Iterable[_Worker]) -> list[str]:
        """Open all endpoints on these workers. Gives what is wrong with those that can't."""
        problems = await asyncio.gather(*map(self._problem, list(posts)))
        stranded, self._stranded = self._stranded, []
        for pending in stranded:
            self._place(pending)
        return [problem for problem in problems if problem]

    async def _problem(self, post: _Worker) -> str | None:
        try:
            problem = await self._opened(post)
        except (_LostError, ModuleNotFoundError) as error:
            if isinstance(error, _LostError):
                self.lose(post)
                return None
            problem = f"has no ondine_nb: pip install 'ondine-nb[dask]=={__version__}' there"
        if problem is None:
            return None
        self._refused[post.address] = problem
        self.lose(post)
        return f"the Dask worker at {post.address} {problem}"

    async def _opened(self, post: _Worker) -> str | None:
        """Open what isn't open there. In words why that can't be, or None."""
        version = await self.call(post.address, greet)
        if version != __version__:
            return (
                f"has ondine_nb {version}, and here is {__version__}: install the same "
                f"(pip install 'ondine-nb[dask]=={__version__}')"
            )
        async with post.opening:
            for number, order in list(self._orders.items()):
                if number not in post.endpoints:
                    problem: str | None = await self.call(
                        post.address, open_endpoint, post.name, number, order
                    )
                    if problem is not None:
                        return f"can't ask: {problem}"
                    post.endpoints.add(number)
        return None

    # -- what is sent, and who has it

    def _place(self, pending: _PendingRequest) -> None:
        """Give a request to the worker that has the fewest."""
        able = [post for post in self._known.values() if pending.endpoint in post.endpoints]
        if able:
            self._alone_since = None
            min(able, key=lambda post: post.load).take(pending)
        else:
            pending.at = None
            self._stranded.append(pending)

    def lose(self, post: _Worker) -> None:
        """A worker is gone. What it was handed may have been answered; the rest goes elsewhere."""
        if self._known.get(post.address) is post:
            del self._known[post.address]
        post.end()
        handed, post.handed = post.handed, {}
        waiting, post.waiting = post.waiting, {}
        for pending in handed.values():
            if not pending.came.done():
                pending.came.set_exception(_lost(post.address))
        for pending in waiting.values():
            self._place(pending)

    def _lose_patience(self) -> None:
        """Fail what waits for a worker where none has come for too long."""
        now = asyncio.get_running_loop().time()
        self._stranded = [pending for pending in self._stranded if not pending.came.done()]
        if not self._stranded:
            self._alone_since = None
            return
        self._alone_since = self._alone_since or now
        if now - self._alone_since >= self.patience:
            stranded, self._stranded = self._stranded, []
            for pending in stranded:
                pending.came.set_exception(FatalProviderError(self._nobody()))

    async def call(self, worker: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` on a worker, again where the way there fails.

        Raises `_LostError` where the worker is gone, `ModuleNotFoundError` where it lacks this
        package.
        """
        for _ in range(_TRIES):
            cluster = self._cluster
            if cluster is None:
                break
            try:
                return await cluster.call(worker, function, *args)
            except ModuleNotFoundError:
                raise
            except (
                Exception
            ) as error:  # the functions called raise nothing: it is Dask's, on the way
                logger.debug("a call to %s: %s: %s", worker, type(error).__name__, error)
                with contextlib.suppress(OSError):
                    if worker not in await cluster.workers():
                        break
            await asyncio.sleep(_AGAIN_SECONDS)
        raise _LostError

    # -- the end

    async def _leave(self, cluster: Cluster) -> None:
        """Clear the senders, and disconnect."""
        for task in list(self._tasks):
            task.cancel()
        posts, self._known, self._refused = list(self._known.values()), {}, {}
        for post in posts:
            post.end()
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                clearing = (cluster.call(post.address, clear, post.name) for post in posts)
                await asyncio.gather(*clearing, return_exceptions=True)
        except TimeoutError:
            pass
        finally:
            await cluster.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _lost(address: str) -> ConnectionLostError:
    return ConnectionLostError(
        f"the Dask worker at {address} was lost, it may have been billed", possibly_billed=True
    )
