"""`--executor dask`: which cluster, who may send there, and what comes out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, LocalCluster

from ondine_nb import Pipeline
from ondine_nb.errors import ConfigurationError, FatalProviderError
from ondine_nb.orchestration import DaskExecutor, ExecutionContext, ExecutionStrategy
from ondine_nb.providers import Reply
from ondine_nb.providers.dask import DaskProvider, worker
from ondine_nb.providers.dask import cluster as clusters
from tests.asking import Asker, echoes, journaled, seen, texts
from tests.dask_cluster import both_there, two_workers
from tests.echo import Echo
from tests.patience import PATIENCE
from tests.server import MessagesServer

HERE = Path(__file__).parents[3]


@pytest.fixture
def cluster(two_dask_workers: LocalCluster) -> Iterator[LocalCluster]:
    """Whoever uses it has left it at the end of the test, however that came."""
    both_there(two_dask_workers)
    yield two_dask_workers
    asyncio.run(seen(lambda: len(two_dask_workers.scheduler.clients) == 1))  # Dask's own


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


def asked_by(asker: Asker, place: Any, rows: int = 12) -> None:
    run = asker.run(texts(rows), executor=DaskExecutor(place), fresh=True)
    assert run.error is None
    assert list(run.frame["response"]) == echoes(texts(rows))


# -- which cluster


def test_an_address_a_cluster_and_a_client_are_used_and_left_open(
    asker: Asker, cluster: LocalCluster
) -> None:
    with Client(cluster, set_as_default=False) as client:
        for place in (cluster.scheduler_address, cluster, client):
            asked_by(asker, place)
        assert client.submit(sum, [1, 2]).result(timeout=PATIENCE) == 3
        assert client.run(
            lambda: list(sys.modules["ondine_nb.providers.dask.worker"]._SENDERS)
        ) == {address: [] for address in client.nthreads()}
    assert asker.server.arrived == 36


async def test_an_asynchronous_client_of_the_same_loop_is_used_too(
    asker: Asker, cluster: LocalCluster
) -> None:
    address = cluster.scheduler_address
    async with Client(address, asynchronous=True, set_as_default=False) as client:
        pipeline = asker.pipeline(texts(12), executor=DaskExecutor(client))
        assert list((await pipeline.execute_async()).data["response"]) == echoes(texts(12))
        assert len(await client.nthreads()) == 2


def test_by_name_it_is_the_cluster_of_the_environment_or_of_the_default_client(
    asker: Asker, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = set(psutil.Process().children(recursive=True))
    with Client(cluster):
        assert asker.run(texts(5), executor="dask").state == "done"
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
    assert asker.run(texts(10), executor="dask").state == "done"
    assert set(psutil.Process().children(recursive=True)) <= known
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    monkeypatch.setattr(clusters, "_ANSWER_SECONDS", 1.0)
    run = asker.run(texts(15), executor="dask")
    assert isinstance(run.error, ConfigurationError)
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in str(run.error)


def test_with_none_there_are_workers_on_this_machine_until_the_run_ends(asker: Asker) -> None:
    """They listen on the loopback only; a run from the journal starts none."""
    before = set(psutil.Process().children(recursive=True))
    listening: set[str] = set()

    def look(_body: Any, _attempt: int) -> None:
        for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
            listening.update(
                link.laddr.ip
                for link in process.net_connections("inet")
                if link.status == psutil.CONN_LISTEN
            )

    with MessagesServer(plan=look) as server:
        asker.server = server
        run = asker.run(texts(3), executor=DaskExecutor(workers=1))
    assert run.state == "done"
    assert listening == {"127.0.0.1"}
    gone = set(psutil.Process().children(recursive=True)) - before
    started = []
    for process in gone:
        with contextlib.suppress(psutil.NoSuchProcess):
            started += [process] if "spawn_main" in " ".join(process.cmdline()) else []
    assert started == []
    again = asker.run(texts(3), executor="dask")
    assert journaled(again) == 3


def test_a_script_without_dask_is_told_what_to_install() -> None:
    code = """
import sys
sys.modules["distributed"] = None
from ondine_nb import Pipeline
try:
    Pipeline([{"text": "a"}], "{text}", base_url="http://127.0.0.1:1", executor="dask")
except ValueError as error:
    print(error)
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE, check=True
    )
    assert out.stdout.strip() == "--executor dask needs Dask: pip install 'ondine-nb[dask]'"


def test_a_script_that_starts_workers_when_it_is_imported_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
from ondine_nb import Pipeline
from ondine_nb.orchestration import DaskExecutor
Pipeline(
    [{"text": "a"}], "{text}", base_url="http://127.0.0.1:1", executor=DaskExecutor(workers=1)
).execute()
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=HERE)
    assert done.returncode == 1
    assert 'put what it does under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


# -- who may send there


class Locked(Echo):
    """Holds what can't be pickled, as a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = socket.socket()


class Shy(Echo):
    """Can't be opened on a worker."""

    async def open(self, settings: Any, concurrency: int) -> None:
        if threading.current_thread().name == "MainThread" and "distributed.worker" in sys.modules:
            import distributed

            if distributed.worker.Worker._instances:
                raise ConfigurationError("no licence on this machine: install one")


class Named(Echo):
    """Says who has sent it."""

    async def send(self, prompt: str) -> Reply:
        import os

        return await super().send(f"{prompt} by {os.getpid()}")


def test_a_provider_of_ones_own_answers_on_the_workers(home: Path, cluster: LocalCluster) -> None:
    provider = Named(latency=0.01)
    pipeline = Pipeline(
        texts(40), "{text}", provider=provider, journal=home, executor=DaskExecutor(cluster)
    )
    said = [text.split(" by ") for text in pipeline.execute().data["response"]]
    assert [text for text, _ in said] == list(texts(40)["text"])
    workers = {str(nanny.pid) for nanny in cluster.workers.values()}
    assert {who for _, who in said} == workers
    assert provider.asked == []
    assert (provider.opened, provider.closed) == (1, 1)


def test_one_that_cant_be_pickled_is_refused_before_the_run() -> None:
    provider = Locked()
    with pytest.raises(ConfigurationError, match=r"echo can't be pickled .*: connect in open\(\)"):
        Pipeline(texts(3), "{text}", provider=provider, executor="dask")
    provider.connection.close()


def test_one_that_a_worker_cant_open_ends_the_run_before_anything_is_sent(
    home: Path, cluster: LocalCluster
) -> None:
    pipeline = Pipeline(
        texts(3), "{text}", provider=Shy(), journal=home, executor=DaskExecutor(cluster)
    )
    told = r"^the Dask worker at tcp://127.0.0.1:\d+ can't ask: no licence on this machine"
    with pytest.raises(ConfigurationError, match=told):
        pipeline.execute()


def test_a_worker_without_a_key_is_named_before_anything_is_sent(
    asker: Asker, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is here, and stays here: the workers were started without one."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-only-here")
    run = asker.run(texts(3), executor=DaskExecutor(cluster))
    assert isinstance(run.error, ConfigurationError)
    assert "can't ask: there is no key: set ANTHROPIC_API_KEY there" in str(run.error)
    assert asker.server.arrived == 0


def test_the_key_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    import cloudpickle

    from ondine_nb.providers.anthropic.client import AnthropicProvider

    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-environment")
    provider = AnthropicProvider("claude-haiku-5-5", api_key="sk-given")
    packed = cloudpickle.dumps(provider)
    assert b"sk-" not in packed
    assert provider.clone()._api_key == "sk-given"


def test_a_worker_with_another_version_is_named(
    asker: Asker, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ondine_nb.providers.dask import pool as fleet

    monkeypatch.setattr(fleet, "__version__", "99.0")
    run = asker.run(texts(3), executor=DaskExecutor(cluster))
    assert f"has ondine_nb {worker.__version__}, and here is 99.0: install the same" in str(
        run.error
    )
    assert asker.server.arrived == 0


def test_without_a_key_the_embedded_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the embedded model answers on this machine only"):
        Pipeline(texts(3), "{text}", executor="dask")


def test_batches_are_refused(asker: Asker) -> None:
    with pytest.raises(ConfigurationError, match="--batch and --executor dask can't go together"):
        asker.pipeline(texts(3), executor="dask", batch=True)


def test_a_cluster_without_workers_ends_the_run(asker: Asker) -> None:
    with two_workers(0) as empty:
        run = asker.run(texts(3), executor=DaskExecutor(empty, patience=0.3))
    assert isinstance(run.error, ConfigurationError)
    assert "has had no worker for 0.3 s: start some" in str(run.error)


def test_workers_that_all_leave_end_the_run_and_keep_what_is_there(asker: Asker) -> None:
    async def work() -> Any:
        run = asker.pipeline(
            texts(50), executor=DaskExecutor(few, patience=1.0), concurrency=2
        ).start()
        while asker.server.ledger.requests < 5:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(few.scale, 0)
        with pytest.raises(FatalProviderError, match="has had no worker for 1 s"):
            await run
        return run

    asker.server = MessagesServer(latency=0.05).start()
    with two_workers(1) as few:
        run = asyncio.run(work())
    asker.server.stop()
    assert run.context.processed_rows >= 5 - 2


# -- what comes out


def test_what_it_says_of_itself(cluster: LocalCluster) -> None:
    executor = DaskExecutor(cluster, 7)
    assert isinstance(executor, ExecutionStrategy)
    assert (executor.name, executor.max_concurrency) == ("dask", 7)
    assert (executor.supports_async(), executor.supports_streaming()) == (True, False)
    streaming = executor.streaming(50)
    assert (streaming.name, streaming.chunk_size, streaming.max_concurrency) == ("dask", 50, 7)
    assert streaming.supports_streaming()
    with pytest.raises(ConfigurationError, match="workers is 0"):
        DaskExecutor(workers=0)


async def test_it_runs_stages_directly_and_again(asker: Asker, cluster: LocalCluster) -> None:
    plan = asker.pipeline(texts(20)).plan()
    result = await DaskExecutor(cluster).execute(plan.stages, plan.context)
    assert list(result.data["response"]) == echoes(texts(20))
    again = await DaskExecutor(cluster).execute_async(plan.stages, ExecutionContext())
    assert list(again.data["response"]) == echoes(texts(20))
    assert asker.server.arrived == 20


def test_chunks_stream_in_order(asker: Asker, cluster: LocalCluster) -> None:
    pipeline = asker.pipeline(texts(250), executor=DaskExecutor(cluster), chunk_size=100)
    chunks = list(pipeline.stream())
    assert [len(chunk) for chunk in chunks] == [100, 100, 50]
    assert [text for chunk in chunks for text in chunk["response"]] == echoes(texts(250))


def test_it_writes_to_a_file_and_packs(asker: Asker, cluster: LocalCluster, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    run = asker.run(iter(texts(60).to_dict("records")), executor=DaskExecutor(cluster), to=target)
    assert run.result is not None
    assert run.result.data == target
    assert len(target.read_text().splitlines()) == 60
    packed = asker.run(texts(30), "Say: {text}", executor=DaskExecutor(cluster), pack=10)
    assert list(packed.frame["response"]) == echoes(texts(30), "Say: {text}")
    assert asker.server.arrived < 60 + 30


def test_failed_rows_are_asked_again_there(cluster: LocalCluster, home: Path) -> None:
    def plan(body: Any, attempt: int) -> str | None:
        return "refusal" if attempt == 1 and body["messages"][0]["content"][-1] == "3" else None

    async def work() -> Any:
        run = asker.pipeline(texts(10), executor=DaskExecutor(cluster)).start()
        await run
        assert run.stats.failed_rows == 1
        retry = run.retry_failed()
        await retry
        return retry

    with MessagesServer(plan=plan) as server:
        asker = Asker(server, home)
        retry = asyncio.run(work())
    assert list(retry.frame["response"]) == echoes(texts(10))
    assert retry.plan.executor.name == "dask"
    assert retry.context.settings["options"]["executor"] == "dask"


def test_workers_send_what_each_of_several_models_is_asked(tmp_path: Path) -> None:
    """Nothing is connected by then."""
    made = Pipeline(
        texts(2), "{text}", base_url="http://127.0.0.1:9", models="m,n", schema="good: bool",
        executor="dask", journal=tmp_path,
    )  # fmt: skip
    plan = made.plan()
    DaskExecutor().lead(plan.stages)
    endpoints = [endpoint for asker in plan.askers for endpoint in asker.endpoints]
    assert len(endpoints) == 2
    assert all(isinstance(endpoint.provider, DaskProvider) for endpoint in endpoints)
