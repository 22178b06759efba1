"""Reserve, send, record, settle: money and bodies are accounted for, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ondine_nb.errors import (
    ConnectionLostError,
    EmptyAnswerError,
    JournalError,
    MalformedAnswerError,
    OverloadedError,
    UnfinishedAnswerError,
)
from ondine_nb.journal import Entry, Journal, SingleFlight
from ondine_nb.models import Prompt
from ondine_nb.orchestration import ExecutionContext, Row
from ondine_nb.orchestration.window import Window
from ondine_nb.providers import Answer, ModelPrice, Reply, Settings
from ondine_nb.providers.pricing import Rate
from ondine_nb.sending import (
    Backoff,
    Budget,
    CircuitBreaker,
    ConcurrencyLimit,
    Endpoint,
    FairAdmission,
    Limits,
    Lookup,
    RateLimiter,
    Request,
    Sender,
)
from ondine_nb.sending.prompt_cache import CacheWarmUp
from ondine_nb.stages import InvokeStage
from tests.asking import asking
from tests.orchestration.parts import arriving
from tests.patience import PATIENCE
from tests.simulation.clock import Clock, VirtualLoop
from tests.stages.test_invoke import Keep, Prompts

D = Decimal
PRICE = ModelPrice(Rate(D(1)), Rate(D(2)), Rate(D(1)), Rate(D(1)))
SETTINGS = Settings(model="m", max_tokens=100, cached_system=True)
WORST = PRICE.ceiling(10, 100)
EACH = D("0.00002")


def body(**changes: Any) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 5}
    content = [{"type": "text", "text": "fine"}]
    whole = {"content": content, "stop_reason": "end_turn", "usage": usage, **changes}
    return json.dumps(whole).encode()


class Replies:
    """A provider that answers with `bodies` by prompt, and keeps what it gave out."""

    identity, model, note, price = "replies", "m", "", PRICE

    def __init__(self, bodies: dict[str, bytes] | None = None, **reply: Any) -> None:
        self.bodies, self.reply = bodies or {}, {"latency": 0.5, **reply}
        self.gave: list[bytes] = []

    async def open(self, settings: Settings, concurrency: int) -> None:
        pass

    async def close(self) -> None:
        pass

    async def send(self, prompt: str) -> Reply:
        await asyncio.sleep(0)
        said = self.bodies.get(prompt) or body(id=prompt)
        self.gave.append(said)
        return Reply(said, **self.reply)

    def read(self, body: bytes) -> Answer:
        return Answer.read(body)

    async def count_tokens(self, prompt: str) -> int | None:
        return None

    def request_bytes(self, prompt: str) -> int:
        return 10


class Outside(Journal):
    """A journal whose thread is waited for where the loop's time is virtual."""

    async def _ask(self, work: Callable[[Any], Any]) -> Any:
        loop = asyncio.get_running_loop()
        outside = loop.outside() if isinstance(loop, VirtualLoop) else contextlib.nullcontext()
        with outside:
            return await super()._ask(work)


class Run:
    """A run over prompts, and what is to hold after it, whatever happened."""

    def __init__(self, folder: Path, provider: Any, prompts: list[str], **given: Any) -> None:
        self.journal = Outside(folder)
        self.provider = provider
        self.budget = given.pop("budget", Budget(D(1)))
        self.context = given.pop("context", None) or ExecutionContext(total_rows=len(prompts))
        self.rows = [Row(at, (prompt,), {"p": 0}) for at, prompt in enumerate(prompts)]
        self.stage: InvokeStage = asking(
            provider,
            SETTINGS,
            journal=self.journal,
            budget=self.budget,
            run_id="r",
            concurrency=3,
            backoff=Backoff(attempts=3, base=0.0),
            **given,
        )

    def run(self) -> Run:
        asyncio.run(self._run())
        return self

    def run_in_virtual_time(self, clock: Clock) -> Run:
        """As `run`, on a loop that lives by `clock`: what servers tell is waited for at once."""
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
            runner.run(self._run(3_600))
        return self

    async def _run(self, seconds: float = PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            keep = Keep(self.stage, lambda row, asker: None)
            window = Window([Prompts(), self.stage, keep], self.context, 3)
            await window.run(arriving([self.rows]))
            await self.context.control.drained()
            self.kept = await self._bodies()

    async def _bodies(self) -> list[bytes]:
        found: list[Entry] = []
        await self.journal.visit("r", found.append)
        return [entry.body for entry in found]

    async def _all_free(self) -> None:
        keys = [self.stage.lookup.key(Prompt(each)) for each in "abcde"]
        async with asyncio.timeout(PATIENCE), self.journal.single_flight.hold(*keys):
            pass

    def check(self) -> None:
        """Nothing is held any more, and what may have been billed is charged."""
        asyncio.run(self._all_free())
        assert (self.budget.reserved, self.budget.outstanding) == (0, 0)
        assert self.context.metrics.in_flight == 0
        assert self.stage.sender.limits.concurrency.inside == 0
        assert not any(row.sending for row in self.rows)
        assert self.budget.spent + self.budget.possibly_billed >= EACH * len(self.provider.gave)

    @property
    def statuses(self) -> list[str]:
        return [row.status for row in self.rows]

    def failure(self, at: int = 0) -> tuple[str, str]:
        failure = self.rows[at].failure
        assert failure is not None
        return failure.error_type, failure.message


POINTS = [
    (Endpoint, "open"),
    (Request, "measure"),
    (CacheWarmUp, "turn"),
    (CacheWarmUp, "succeeded"),
    (ConcurrencyLimit, "__aenter__"),
    (SingleFlight, "hold"),
    (FairAdmission, "through"),
    (Lookup, "recall"),
    (RateLimiter, "turn"),
    (Budget, "reserve"),
    (CircuitBreaker, "sending"),
    (Limits, "_begin"),
    (Replies, "send"),
    (Limits, "learn"),
    (RateLimiter, "learn"),
    (Replies, "read"),
    (Limits, "answered"),
    (CircuitBreaker, "answered"),
    (ConcurrencyLimit, "answered"),
    (ModelPrice, "charge"),
    (Journal, "extend"),
    (Sender, "_learn"),
    (Sender, "count"),
    (ExecutionContext, "add_usage"),
    (Row, "pay"),
]
ERRORS: list[Callable[[], BaseException]] = [
    lambda: ValueError("odd"),
    lambda: OverflowError("cannot convert float infinity to integer"),
    lambda: RecursionError("deep"),
    lambda: OverloadedError("busy"),
    lambda: ConnectionLostError("cut", possibly_billed=True),
    lambda: JournalError("disk full"),
    asyncio.CancelledError,
]


def _sabotage(
    patch: pytest.MonkeyPatch, kind: type, name: str, fail: Callable[[], None], *, after: bool
) -> None:
    """Have the second call fail, before it does anything or when it is done."""
    original, calls = kind.__dict__[name], [0]
    function = original.__func__ if isinstance(original, classmethod) else original

    def due() -> bool:
        calls[0] += 1
        return calls[0] == 2

    async def awaited(*args: Any, **given: Any) -> Any:
        now = due()
        if now and not after:
            fail()
        result = await function(*args, **given)
        if now and after:
            fail()
        return result

    def called(*args: Any, **given: Any) -> Any:
        now = due()
        if now and not after:
            fail()
        result = function(*args, **given)
        if now and after:
            fail()
        return result

    double: Any = awaited if asyncio.iscoroutinefunction(function) else called
    patch.setattr(kind, name, classmethod(double) if function is not original else double)


# What was had and is lost on the way back can't be given back by who never got it.
NEVER_HAD = {"turn", "__aenter__", "hold", "reserve", "send"}
CASES = [
    pytest.param(kind, name, after, id=f"{kind.__name__}.{name} {'after' if after else 'before'}")
    for kind, name in POINTS
    for after in (False, True)
    if not (after and name in NEVER_HAD)
]


@pytest.mark.parametrize(("kind", "name", "after"), CASES)
def test_whatever_is_raised_wherever_nothing_stays_open_and_no_paid_body_is_lost(
    home: Path, kind: type, name: str, after: bool
) -> None:
    """Any exception at any point of reserve, send, record, settle."""
    for number, make in enumerate(ERRORS):
        with pytest.MonkeyPatch.context() as patch:
            error = make()
            context = ExecutionContext(total_rows=5)

            def fail(context: ExecutionContext = context, error: BaseException = error) -> None:
                if isinstance(error, asyncio.CancelledError):  # as a second stop does
                    context.control.stop()
                raise error

            _sabotage(patch, kind, name, fail, after=after)
            run = Run(home / f"{number}", Replies(), list("abcde"), context=context)
            if (kind, name) == (Lookup, "recall"):
                run.stage.sender.limits.beside_others = True
            run.run()
        run.check()
        if (kind, name, after) != (Journal, "extend", False):
            assert set(run.provider.gave) <= set(run.kept)
        if isinstance(error, Exception) and not isinstance(error, JournalError):
            assert "not_run" not in run.statuses  # no worker is dead
        run.journal.close()


# -- whatever a body holds


NUMBERS = st.one_of(
    st.none(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.booleans(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
)
JSONISH = st.recursive(
    NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
USAGES = st.one_of(
    JSONISH,
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            (
                "input_tokens",
                "output_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
            ),
            NUMBERS,
        ),
    ),
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "content": st.one_of(
            JSONISH,
            st.lists(
                st.fixed_dictionaries({"type": st.just("text")}, optional={"text": JSONISH}),
                max_size=2,
            ),
        ),
        "stop_reason": st.sampled_from(["end_turn", "pause_turn", "max_tokens", "refusal"])
        | JSONISH,
        "usage": USAGES,
    },
)
BODIES = st.one_of(
    st.binary(max_size=40),
    MESSAGES.map(lambda message: json.dumps(message).encode()),
    JSONISH.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [
            b'{"content": [], "usage": {"input_tokens": 1e999, "output_tokens": 1}}',
            b'{"content": [], "usage": {"input_tokens": NaN, "output_tokens": 1}}',
            b'{"content": [], "usage": {"input_tokens": -5, "output_tokens": 1}}',
            b'{"content": [], "usage": {"input_tokens": 1, "output_tokens": ' + b"9" * 5000 + b"}}",
            b'{"content": ' + b"[" * 10_000 + b"]" * 10_000 + b', "stop_reason": "end_turn"}',
            b"[" * 10_000,
            b'{"content": "\\ud800", "stop_reason": "end_turn", "usage": {}}',
        ]
    ),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            f"anthropic-ratelimit-{kind}-{what}"
            for kind in ("requests", "input-tokens", "output-tokens", "tokens")
            for what in ("limit", "remaining", "reset")
        ]
        + ["retry-after", "retry-after-ms"]
    ),
    st.sampled_from(["1e999", "nan", "-1", "0", "", "9" * 400, "tomorrow", "50000", "\x00"]),
    max_size=6,
)


@settings(suppress_health_check=list(HealthCheck))
@given(odd=st.lists(BODIES, min_size=1, max_size=3), headers=HEADERS)
def test_whatever_a_body_or_a_header_holds_the_run_ends_and_every_body_is_kept_and_charged(
    tmp_path_factory: pytest.TempPathFactory, odd: list[bytes], headers: dict[str, str]
) -> None:
    bodies = dict(zip("abc", odd, strict=False))
    provider = Replies(bodies, headers=headers)
    clock = Clock()
    run = Run(tmp_path_factory.mktemp("odd"), provider, list("abcde"), clock=clock)
    run.run_in_virtual_time(clock).journal.close()
    assert (run.budget.reserved, run.budget.outstanding) == (0, 0)
    assert run.context.metrics.in_flight == 0
    assert "not_run" not in run.statuses
    assert run.statuses[len(bodies) :] == ["answered"] * (5 - len(bodies))
    assert sorted(run.kept) == sorted(provider.gave)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"input_tokens": 10},
        {"input_tokens": 10, "output_tokens": None},
        {"input_tokens": -600, "output_tokens": 5},
        {"input_tokens": 10, "output_tokens": 1e300},
        {"input_tokens": 10, "output_tokens": 10**12},
        {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 10**12},
        {"input_tokens": "10", "output_tokens": 5},
        {"input_tokens": True, "output_tokens": 5},
        {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": -1},
        [10, 5],
    ],
    ids=repr,
)
def test_usage_that_is_missing_or_cant_be_is_charged_at_the_reservation_and_said(
    home: Path, usage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = [f"{n}" for n in range(20)]
    provider = Replies({prompt: body(id=prompt, usage=usage) for prompt in prompts})
    run = Run(home, provider, prompts, budget=Budget(5 * WORST)).run()
    run.journal.close()
    assert len(provider.gave) == 5  # the budget is a ceiling, whatever the answers don't say
    assert (run.budget.spent, run.budget.possibly_billed) == (0, 5 * WORST)
    assert run.context.metrics.possibly_billed == 5 * WORST
    assert run.statuses.count("answered") == 5
    assert [record.message.count("possibly billed") for record in caplog.records] == [1]


def test_a_count_of_cached_tokens_that_is_missing_is_none(home: Path) -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": None}
    run = Run(home, Replies({"a": body(usage=usage)}), ["a"]).run()
    run.journal.close()
    assert (run.budget.spent, run.budget.possibly_billed) == (EACH, 0)


class Unreadable(dict[str, str]):
    """Headers that can't be read."""

    def get(self, *_: Any) -> Any:
        raise RuntimeError("not these")

    items = __iter__ = __getitem__ = __contains__ = get  # type: ignore[assignment]


def test_headers_that_can_t_be_read_cost_no_answer_and_are_told_once(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(home, Replies(headers=Unreadable({"retry-after": "1"})), ["a", "b", "c"]).run()
    run.journal.close()
    assert run.statuses == ["answered"] * 3
    told = [
        record.message for record in caplog.records if "RuntimeError: not these" in record.message
    ]
    assert len(told) == 1
    assert "of the server's rate limit: headers that can't be read" in told[0]


# -- answers in odd shapes


@pytest.mark.parametrize(
    "content",
    [None, [], {}, 7, [None], [{"type": "text", "text": None}], [{"type": "text"}], [{"text": "x"}],
     [{"type": "text", "text": 5}], [{"type": "thinking", "thinking": "hm"}], ""],
    ids=repr,
)  # fmt: skip
def test_an_answer_without_text_is_empty_sent_once_and_its_tokens_are_counted(
    home: Path, content: Any
) -> None:
    provider = Replies({"a": body(content=content)})
    run = Run(home, provider, ["a"]).run()
    run.journal.close()
    assert len(provider.gave) == 1
    assert run.failure()[0] == EmptyAnswerError.__name__
    assert (run.context.accumulated_cost, run.context.accumulated_tokens) == (EACH, 15)
    assert run.budget.spent == EACH


def test_so_is_one_that_lacks_its_content_and_says_what_it_is_billed_for(home: Path) -> None:
    whole = json.loads(body(id="a"))
    del whole["content"]
    provider = Replies({"a": json.dumps(whole).encode()})
    run = Run(home, provider, ["a"]).run()
    run.journal.close()
    assert (len(provider.gave), run.failure()[0]) == (1, EmptyAnswerError.__name__)
    assert run.budget.spent == EACH


@pytest.mark.parametrize("reason", ["pause_turn", "tool_use", "banana", None, 5, ["end_turn"]])
def test_what_isnt_known_to_be_whole_is_not_taken_for_whole(home: Path, reason: Any) -> None:
    provider = Replies({"a": body(stop_reason=reason)})
    run = Run(home, provider, ["a"]).run()
    again = Run(home, provider, ["a"])
    run.journal.close()
    kind, message = run.failure()
    assert kind == UnfinishedAnswerError.__name__
    assert f"stop_reason: {reason}" in message
    again.run()
    again.journal.close()
    assert again.failure()[0] == kind
    assert len(provider.gave) == 1  # it was paid for: it isn't bought again by itself
    assert run.budget.spent == EACH


def test_text_that_is_no_list_of_blocks_is_the_answer(home: Path) -> None:
    run = Run(home, Replies({"a": body(content="said so")}), ["a"]).run()
    run.journal.close()
    assert [row.outputs for row in run.rows] == [{"text": "said so"}]


def test_what_is_no_message_is_no_answer() -> None:
    for said in (b"", b"null", b"[]", b"7", b'"text"', b'{"error": {}}', b"<html>"):
        with pytest.raises(MalformedAnswerError):
            Answer.read(said)
