"""A server that fails in every way it can: each row ends with its answer or a named error."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ondine_nb.errors
from ondine_nb.errors import RowError
from ondine_nb.sending import limits
from ondine_nb.sending.retry import Backoff
from tests.asking import HAIKU, Asker, echoes, statuses, texts
from tests.server import MessagesServer, value_of

WEATHER = {
    "429": 0.05,
    "529": 0.03,
    "500": 0.01,
    "reset_before": 0.01,
    "reset_after": 0.005,
    "malformed": 0.01,
    "hang": 0.002,
}
TRANSIENT = {
    "408": "ServerError",
    "409": "ServerError",
    "429": "RateLimitedError",
    "500": "ServerError",
    "529": "OverloadedError",
    "reset_before": "ConnectionLostError",
    "reset_after": "ConnectionLostError",
    "half": "ConnectionLostError",
    "hang": "TimedOutError",
    "html": "MalformedAnswerError",
    "html_502": "ServerError",
    "malformed": "MalformedAnswerError",
}
LASTING = {
    "400": "RejectedRequestError",
    "413": "RejectedRequestError",
    "refusal": "RefusalError",
    "refusal_text": "RefusalError",
    "cut": "CutAnswerError",
    "empty": "EmptyAnswerError",
}
LOST = {"reset_after", "half", "hang", "html", "malformed", "reset_before"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "Backoff", partial(Backoff, base=0.005))


@pytest.mark.parametrize("schema", [None, "mood: good|bad, n: int"], ids=["text", "schema"])
def test_in_bad_weather_every_row_gets_its_own_answer(tmp_path: Path, schema: str | None) -> None:
    """No answer that came is paid twice, no row is shifted, and the requests stay few."""
    data = texts(1_500).sample(frac=1, random_state=5)
    with MessagesServer(faults=WEATHER, latency=(0, 0.05), retry_after=0.01) as server:
        asker = Asker(server, tmp_path)
        run = asker.run(data, schema=schema, concurrency=100, timeout=10)
        billed = server.ledger.entries
        met = Counter(arrival.fault for arrival in server.requests)
    assert set(WEATHER) <= set(met)
    kinds = [getattr(ondine_nb.errors, kind) for kind in run.errors["error_type"]]
    named = [issubclass(kind, RowError) for kind in kinds]
    assert all(named)
    assert statuses(run).count("answered") + len(named) == len(data)
    answered = [status == "answered" for status in statuses(run)]
    if schema is None:
        expected = pd.Series(echoes(data), index=data.index).where(answered)
        assert run.frame["response"].equals(expected.astype("str"))
    else:
        sent = server.requests[0].body["output_config"]["format"]["schema"]
        values = [value_of(sent, f"Tell: {text}") for text in data["text"]]
        for name in ("mood", "n"):
            assert list(run.frame[name][answered]) == [
                value[name] for value, there in zip(values, answered, strict=True) if there
            ]
    delivered = Counter(entry.prompt for entry in billed if entry.delivered)
    assert max(delivered.values()) == 1
    assert server.arrived / len(data) < 1.3
    assert run.context.metrics.requests == server.arrived + server.probes.total()
    assert run.context.metrics.retries == server.arrived - len(data)
    assert run.cost is not None
    assert run.cost <= server.ledger.cost(*HAIKU) <= run.cost + run.context.metrics.possibly_billed
    assert run.state == "done"
    again = asker.run(data, schema=schema)
    assert again.cost == 0
    assert again.frame.equals(run.frame)


@pytest.mark.parametrize("fault", TRANSIENT)
def test_what_may_go_well_another_time_is_sent_again(tmp_path: Path, fault: str) -> None:
    """And is charged as possibly billed where nobody can know."""
    with MessagesServer(plan=lambda _, attempt: fault if attempt == 1 else None) as server:
        given = {"timeout": 5} if fault == "hang" else {}  # no answer takes that long
        run = Asker(server, tmp_path).run(texts(3), **given)
    assert list(run.frame["response"]) == echoes(texts(3))
    assert list(run.rows["attempts"]) == [2, 2, 2]
    assert (run.context.metrics.possibly_billed > 0) == (fault in LOST)
    assert run.cost is not None
    assert server.ledger.cost(*HAIKU) <= run.cost + run.context.metrics.possibly_billed


@pytest.mark.parametrize("fault", sorted(set(TRANSIENT) - {"hang"}))
def test_what_never_goes_well_is_a_named_error_of_its_row(tmp_path: Path, fault: str) -> None:
    def plan(body: Any, _attempt: int) -> str | None:
        return fault if body["messages"][0]["content"] == "Tell: text 1" else None

    with MessagesServer(plan=plan) as server:
        run = Asker(server, tmp_path).run(texts(3), concurrency=1)
    assert run.state == "done"
    assert statuses(run) == ["answered", "failed", "answered"]
    assert list(run.errors["error_type"]) == [TRANSIENT[fault]]
    assert list(run.errors["attempts"]) == [Backoff().attempts] == [server.attempts("Tell: text 1")]
    assert "\n" not in run.errors["message"].iloc[0]


@pytest.mark.parametrize("fault", LASTING)
def test_what_is_no_use_to_repeat_is_sent_once(tmp_path: Path, fault: str) -> None:
    def plan(body: Any, _attempt: int) -> str | None:
        return fault if body["messages"][0]["content"] == "Tell: text 1" else None

    with MessagesServer(plan=plan) as server:
        run = Asker(server, tmp_path).run(texts(3))
    assert list(run.errors["error_type"]) == [LASTING[fault]]
    assert server.arrived == 3
    assert run.cost == server.ledger.cost(*HAIKU)


@pytest.mark.parametrize("fault", ["reset_after", "reset_before", "500", "malformed", "half"])
def test_a_server_that_always_fails_alike_fails_rows_not_the_run(
    tmp_path: Path, fault: str
) -> None:
    """It is there and answers: that isn't "no server at this URL"."""
    with MessagesServer(faults={fault: 1}) as server:
        run = Asker(server, tmp_path).run(texts(10))
    assert (run.state, run.error) == ("failed", None)
    assert set(run.errors["error_type"]) == {TRANSIENT[fault]}
    assert run.cost == 0
    assert server.ledger.cost(*HAIKU) <= run.context.metrics.possibly_billed or fault == "500"


@pytest.mark.parametrize("headers", [{"retry_after": 0.3}, {"retry_after_ms": 300}])
@pytest.mark.parametrize("fault", ["429", "529"])
def test_retry_after_is_heeded(tmp_path: Path, fault: str, headers: dict[str, Any]) -> None:
    with MessagesServer(plan=lambda _, at: fault if at == 1 else None, **headers) as server:
        Asker(server, tmp_path).run(texts(4))
    at: dict[tuple[str, int], float] = {(r.prompt, r.attempt): r.at for r in server.requests}
    for prompt in {prompt for prompt, _ in at}:
        assert at[prompt, 2] - at[prompt, 1] >= 0.3


def test_a_real_rate_limit_is_kept_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty requests at once and then 50 a second: all rows are answered, each paid once."""
    monkeypatch.setattr(limits, "Backoff", partial(Backoff, base=0.2))
    with MessagesServer(limits={"requests": 3_000}, burst=60, retry_after_ms=50) as server:
        run = Asker(server, tmp_path).run(texts(120), concurrency=20)
    assert list(run.frame["response"]) == echoes(texts(120))
    assert server.ledger.requests == 120


@pytest.mark.parametrize("fault", ["500", "429", "reset_after"])
def test_until_an_answer_has_come_eight_are_in_flight_at_most(tmp_path: Path, fault: str) -> None:
    with MessagesServer(faults={fault: 1}, latency=0.01) as server:
        Asker(server, tmp_path).run(texts(16), concurrency=16)
    assert server.peak_in_flight <= 8


def test_the_concurrency_asked_for_is_the_concurrency_there_is(tmp_path: Path) -> None:
    with MessagesServer() as server, ThreadPoolExecutor(1) as beside:
        server.pause(at=60)  # before the first answer there are fewer
        running = beside.submit(Asker(server, tmp_path).run, texts(300), concurrency=37)
        server.wait_for_peak(37)
        server.resume()
        running.result()
    assert server.peak_in_flight == 37


def test_thinking_blocks_come_first_and_are_no_answer(tmp_path: Path) -> None:
    with MessagesServer(thinking=True) as server:
        run = Asker(server, tmp_path).run(texts(3), thinking="auto")
    assert server.requests[0].body["thinking"] == {"type": "adaptive"}
    assert list(run.frame["response"]) == echoes(texts(3))
    assert run.cost == server.ledger.cost(*HAIKU)


@pytest.mark.parametrize("schema", [None, "n: int"])
def test_answers_of_odd_text_stand_as_they_are(tmp_path: Path, schema: str | None) -> None:
    """Or fail their row where the schema asks for something else."""
    odd = [
        "null",
        "NaN",
        "  padded  ",
        "a\n\nb",
        "<b>&amp;</b>",
        "\u2028",
        "日本語 🙂",
        "[]",
        "x\x00y",
    ]
    data = pd.DataFrame({"text": [str(at) for at in range(len(odd))]})

    def answer(body: Any) -> str:
        return odd[int(body["messages"][0]["content"].split()[-1])]

    with MessagesServer(answer=answer) as server:
        run = Asker(server, tmp_path).run(data, schema=schema)
    if schema is None:
        expected = [text if text.strip() else None for text in odd]
        found = [None if text != text else text for text in run.frame["response"]]
        assert found == expected
    else:
        assert set(run.errors["error_type"]) <= {"SchemaNotMetError", "EmptyAnswerError"}
        assert run.stats.failed_rows == len(odd)
