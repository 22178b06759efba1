"""A server that isn't ours: llama.cpp's own, on both of its APIs, with a schema and without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from ondine_nb import Pipeline, Run
from ondine_nb.errors import FatalProviderError
from ondine_nb.providers import KNOWN, OpenAIProvider, enforces_schema
from ondine_nb.providers.anthropic import AnthropicProvider
from ondine_nb.providers.local import process as local
from tests.asking import statuses, texts
from tests.data.media.drawings import png

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_parallel, params.n_ctx, params.offline = 2, 2048, True
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.cache_ram_mib = params.n_ctx_checkpoints = 0
params.ui, params.verbosity = False, -1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.buffer.read()
"""
# What a model of its size would hardly come to say by itself.
SCHEMA = "mood: qxz|wvk, sure: bool"


@pytest.fixture(scope="module")
def llamacpp() -> Iterator[str]:
    """Its URL, in a process of its own."""
    model = local.model_path() or local.fetch_model()
    command = [sys.executable, "-c", SCRIPT, str(model)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def run(folder: Path, model: str, url: str, schema: str | None) -> Run:
    pipeline = Pipeline(
        texts(2), "{text}", model=model, base_url=url, schema=schema, timeout=600,
        max_tokens=60 if schema else 20, journal=folder,
    )  # fmt: skip
    made = Run(pipeline)
    made.execute()
    return made


def test_by_chat_completions_every_row_is_typed(llamacpp: str, tmp_path: Path) -> None:
    done = run(tmp_path, "llamacpp:smollm2", llamacpp, SCHEMA)
    assert statuses(done) == ["answered"] * 2
    assert set(done.frame["mood"]) <= {"qxz", "wvk"}
    assert done.frame["sure"].dtype == "boolean"
    assert all(done.rows["tokens"] > 0)
    again = run(tmp_path, "llamacpp:smollm2", f"{llamacpp}/v1", SCHEMA)
    assert statuses(again) == ["journal"] * 2


@pytest.mark.parametrize("model", ["llamacpp:smollm2", "smollm2"], ids=["chat", "messages"])
def test_without_a_schema_both_of_its_apis_answer(
    llamacpp: str, tmp_path: Path, model: str
) -> None:
    """An answer may be cut, which a small model is: that is told, and is no text."""
    done = run(tmp_path, model, llamacpp, None)
    kinds = set(done.errors["error_type"])
    assert kinds <= {"CutAnswerError"}
    answered = statuses(done).count("answered")
    assert answered + len(done.errors) == 2
    assert list(done.frame["response"].isna()).count(False) == answered


def test_by_messages_a_run_says_that_its_schema_is_dropped_and_has_every_row_typed(
    llamacpp: str, tmp_path: Path
) -> None:
    """It asks by its Chat Completions, whose answers whoever names them has for nothing."""
    done = run(tmp_path, "smollm2", llamacpp, SCHEMA)
    assert statuses(done) == ["answered"] * 2
    assert set(done.frame["mood"]) <= {"qxz", "wvk"}
    assert done.frame["sure"].dtype == "boolean"
    assert "enforces no schema on its Messages API, as a probe told" in done.note
    assert "asked by its Chat Completions" in done.note
    assert done.costs.total_tokens > done.rows["tokens"].sum()  # the probes' are the run's
    again = run(tmp_path, "anthropic:smollm2", llamacpp, SCHEMA)
    assert statuses(again) == ["journal"] * 2
    assert "asked by its Chat Completions" in again.note  # it is known by now
    assert statuses(run(tmp_path, "llamacpp:smollm2", llamacpp, SCHEMA)) == ["journal"] * 2


async def test_a_schema_is_enforced_by_the_one_and_dropped_by_the_other(llamacpp: str) -> None:
    """Which is why it is tried where nobody says it."""
    by_chat = OpenAIProvider("smollm2", row=KNOWN["llamacpp"], base_url=llamacpp)
    by_messages = AnthropicProvider("smollm2", base_url=llamacpp)
    assert (await enforces_schema(by_chat, 600))[0] is True
    assert (await enforces_schema(by_messages, 600))[0] is False


def test_what_is_too_long_for_it_is_that_rows_error(llamacpp: str, tmp_path: Path) -> None:
    data = texts(1)
    data["text"] = "word " * 2_000
    pipeline = Pipeline(
        data, "{text}", model="llamacpp:smollm2", base_url=llamacpp, journal=tmp_path, max_tokens=5
    )
    done = Run(pipeline)
    done.execute()
    assert list(done.errors["error_type"]) == ["RejectedRequestError"]


@pytest.mark.parametrize("model", ["llamacpp:smollm2", "smollm2"], ids=["chat", "messages"])
def test_a_picture_for_a_model_without_eyes_ends_the_run_in_one_line(
    llamacpp: str, tmp_path: Path, model: str
) -> None:
    """It says so by a 500, which nothing would come of however often it were asked."""
    data = pd.DataFrame({"photo": [png(1), png(2)]})
    made = Run(
        Pipeline(data, "What? {photo:image}", model=model, base_url=llamacpp, journal=tmp_path)
    )
    with pytest.raises(FatalProviderError) as caught:
        made.execute()
    assert "takes no pictures" in str(caught.value)
    assert "\n" not in str(caught.value)
