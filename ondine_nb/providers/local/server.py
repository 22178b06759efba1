"""The child process of the embedded model: llama.cpp behind a small Messages API.

It is there because llama.cpp's own `/v1/messages` drops `output_config` silently; `process.py` runs
it by its path. It reads a key from stdin, prints one JSON line (`url` or `error`), logs no prompt,
and ends when stdin closes. It imports only the standard library and xllamacpp.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import http.client
import json
import os
import re
import secrets
import selectors
import signal
import socket
import socketserver
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, NoReturn

MODEL_ID = "smollm2-135m-instruct"
CONTEXT = 1024  # tokens a request may hold, prompt and answer together
SLOTS = 4  # requests that are answered at once; more of them wait
MAX_BODY = 8 * 1024 * 1024  # bytes

# A very small model repeats itself: what a schema leaves open would fill the context.
BOUNDS: dict[str, dict[str, Any]] = {
    "string": {"maxLength": 200},
    "integer": {"minimum": -999_999_999_999, "maximum": 999_999_999_999},
    "number": {"minimum": -1_000_000_000, "maximum": 1_000_000_000, "multipleOf": 0.0001},
    "array": {"maxItems": 10},
    "object": {"additionalProperties": False},
}
# For llguidance, which the wheels hold: no blanks (an answer costs half the tokens), and what it
# doesn't know is ignored. Without "lenient" it drops the whole grammar for it, silently.
GUIDANCE = {"whitespace_flexible": False, "lenient": True, "coerce_one_of": True}
STOP_REASONS = {"eos": "end_turn", "limit": "max_tokens", "word": "stop_sequence"}
CARD = {
    "type": "model",
    "id": MODEL_ID,
    "display_name": "SmolLM2-135M-Instruct (embedded)",
    "created_at": "2025-02-06T00:00:00Z",
    "lifecycle": "active",
    "max_input_tokens": CONTEXT - 1,
    "max_tokens": CONTEXT - 1,
}
PAGES: dict[str, dict[str, Any]] = {
    "/health": {"status": "ok"},
    "/v1/models": {"data": [CARD], "has_more": False, "first_id": MODEL_ID, "last_id": MODEL_ID},
    f"/v1/models/{MODEL_ID}": CARD,
}


class ApiError(Exception):
    """An answer that isn't a result; its args: HTTP status, Anthropic's error type, message."""


class GoneError(Exception):
    """The client has hung up."""


def invalid(message: str) -> ApiError:
    """A 400 of the kind that Anthropic calls `invalid_request_error`."""
    return ApiError(400, "invalid_request_error", message)


def text_of(content: object) -> str:
    """The text of a string or of a list of text blocks. Raises ApiError for anything else."""
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    for block in blocks:
        if not isinstance(block, dict) or not isinstance(block.get("text"), str):
            raise invalid("content: the embedded model takes a string or a list of text blocks")
    return "".join(str(block["text"]) for block in blocks)


def chat_of(body: dict[str, Any]) -> list[dict[str, str]]:
    """System text and messages as llama.cpp's chat. Raises ApiError."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: at least one message is required")
    turns = [("system", text_of(body["system"]))] if body.get("system") else []
    for n, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in {"user", "assistant"}:
            raise invalid(f"messages.{n}.role: Input should be 'user' or 'assistant'")
        turns.append((message["role"], text_of(message.get("content"))))
    # Chat markers are broken up, so that no row of data can pose as another turn.
    return [{"role": role, "content": text.replace("<|", "<\u200b|")} for role, text in turns]


def check_model(body: dict[str, Any]) -> None:
    """Raises ApiError when the request names another model than ours, or none."""
    if body.get("model") != MODEL_ID:
        raise ApiError(404, "not_found_error", f"model: {body.get('model')} isn't {MODEL_ID}")


def check_request(body: dict[str, Any]) -> None:
    """Raises ApiError for what a Messages request may hold and this model can't do."""
    check_model(body)
    limit = body.get("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise invalid("max_tokens: Input should be an integer of at least 1")
    if body.get("stream") or body.get("tools"):
        raise invalid("stream, tools: not with the embedded model")
    stops = body.get("stop_sequences") or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise invalid("stop_sequences: Input should be a list of non-empty strings")


def schema_of(body: dict[str, Any]) -> dict[str, Any] | None:
    """The schema that the answer has to meet, made fit for llama.cpp. Raises ApiError."""
    config = body.get("output_config") or {}
    form = config.get("format") if isinstance(config, dict) else None
    if form is None:
        return None
    if not isinstance(form, dict) or not isinstance(form.get("schema"), dict):
        raise invalid("output_config.format: Input should hold an object as its schema")
    return {**bounded(form["schema"]), "x-guidance": GUIDANCE}


def bounded(schema: Any) -> Any:
    """`schema` with the bounds it leaves open, without patterns: a bad one costs the grammar."""
    if not isinstance(schema, dict):
        return schema
    kinds = schema.get("type")
    plain = {word: value for word, value in schema.items() if word != "pattern"}
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        plain = BOUNDS.get(str(kind), {}) | plain
    for word, value in plain.items():
        if word in {"properties", "$defs", "definitions"} and isinstance(value, dict):
            plain[word] = {name: bounded(part) for name, part in value.items()}
        elif word in {"anyOf", "oneOf", "allOf", "prefixItems"} and isinstance(value, list):
            plain[word] = [bounded(part) for part in value]
        elif word in {"items", "additionalProperties"}:
            plain[word] = bounded(value)
    return plain


def hung_up(client: socket.socket) -> bool:
    """Whether the other end of `client` is closed. A closed socket reads as empty, at once."""
    with selectors.DefaultSelector() as ready:
        ready.register(client, selectors.EVENT_READ)
        try:
            return bool(ready.select(0)) and not client.recv(1, socket.MSG_PEEK)
        except OSError:
            return True


class Engine:
    """llama.cpp's server, spoken to over loopback: a closed connection stops its generation."""

    def __init__(self, model: str, threads: int) -> None:
        import xllamacpp

        self._key = secrets.token_urlsafe(24)
        self._slots = threading.BoundedSemaphore(SLOTS)
        self._grammar_of = xllamacpp.json_schema_to_grammar
        params = xllamacpp.CommonParams()
        params.model.path = model
        params.n_parallel, params.n_ctx = SLOTS, SLOTS * CONTEXT
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_threads_http, params.api_keys, params.offline = 2 * SLOTS, [self._key], True
        params.cache_ram_mib = params.n_ctx_checkpoints = 0  # its default may grow to 8 GB
        params.ui, params.endpoint_slots, params.verbosity = False, False, -1  # show no prompt
        self._server = xllamacpp.Server(params)
        self._address = urllib.parse.urlsplit(self._server.listening_address).netloc

    def ask(self, path: str, body: dict[str, Any], client: socket.socket) -> dict[str, Any]:
        """Sends `body` to llama.cpp. Raises GoneError as soon as `client` hangs up, ApiError."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        with contextlib.closing(http.client.HTTPConnection(self._address)) as link:
            link.request("POST", path, json.dumps(body), headers)
            _wait_for(link.sock, client)
            answer = link.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
        if answer.status != 200:
            said = (found.get("error") or {}).get("message") or "llama.cpp gave no reason"
            raise invalid(said) if answer.status == 400 else ApiError(500, "api_error", said)
        return found

    def tokens(self, chat: list[dict[str, str]], client: socket.socket) -> list[int]:
        """The prompt that the model's chat template makes of `chat`, as token ids."""
        prompt = self.ask("/apply-template", {"messages": chat}, client)["prompt"]
        asked = {"content": prompt, "parse_special": True}
        return [*self.ask("/tokenize", asked, client)["tokens"]]

    def complete(self, asked: dict[str, Any], client: socket.socket) -> dict[str, Any]:
        """A completion, as soon as one of the slots is free. Raises as `ask`."""
        while not self._slots.acquire(timeout=0.5):
            if hung_up(client):
                raise GoneError
        try:
            return self.ask("/completion", asked, client)
        finally:
            self._slots.release()

    def grammar(self, schema: dict[str, Any]) -> str:
        """`schema` as a grammar. Raises ApiError when llama.cpp can't make one of it."""
        try:
            grammar = str(self._grammar_of(schema))
        except (ValueError, TypeError, RuntimeError) as error:
            raise invalid(f"output_config.format.schema: {error}") from error
        return re.sub(r"(?m)^space ::=.*$", 'space ::= ""', grammar)  # in wheels without llguidance


def _wait_for(server: socket.socket, client: socket.socket) -> None:
    with selectors.DefaultSelector() as ready:
        ready.register(server, selectors.EVENT_READ)
        ready.register(client, selectors.EVENT_READ)
        while server not in {key.fileobj for key, _ in ready.select()}:
            if hung_up(client):
                raise GoneError
            ready.unregister(client)  # it sent the next request already; that can wait


def message_of(body: dict[str, Any], engine: Engine, client: socket.socket) -> dict[str, Any]:
    """The Messages answer to `body`. Raises ApiError, GoneError."""
    check_request(body)
    schema, prompt = schema_of(body), engine.tokens(chat_of(body), client)
    room = CONTEXT - len(prompt)
    if room < 1:
        raise invalid(f"prompt is too long: {len(prompt)} tokens > {CONTEXT - 1} maximum")
    # llama.cpp's own parameters, not the Messages API's, which has no temperature any more.
    asked = {"prompt": prompt, "n_predict": min(body["max_tokens"], room), "temperature": 0}
    asked["stop"] = body.get("stop_sequences") or []
    if schema is not None:
        asked["grammar"] = engine.grammar(schema)
    found = engine.complete(asked, client)
    if schema is not None:
        check_constrained(found)
    return _message(found, len(prompt))


def check_constrained(found: dict[str, Any]) -> None:
    """Raises ApiError when the answer isn't JSON, or a start of it: llama.cpp had no grammar."""
    text = found["content"]
    try:
        if found["stop_type"] == "eos":
            json.loads(text)
    except ValueError:
        text = "?"
    if text[:1] not in '{["-0123456789tfn':
        raise invalid("output_config.format.schema: the model can't be held to it")


def count_of(body: dict[str, Any], engine: Engine, client: socket.socket) -> dict[str, Any]:
    """The number of tokens of the prompt that `body` holds. Raises ApiError, GoneError."""
    check_model(body)
    return {"input_tokens": len(engine.tokens(chat_of(body), client))}


def _message(found: dict[str, Any], prompt_tokens: int) -> dict[str, Any]:
    usage = {"input_tokens": prompt_tokens, "output_tokens": found["tokens_predicted"]}
    return {
        "id": "msg_" + secrets.token_hex(12),
        "type": "message",
        "role": "assistant",
        "model": MODEL_ID,
        "content": [{"type": "text", "text": found["content"]}],
        "stop_reason": STOP_REASONS.get(found["stop_type"], "end_turn"),
        "stop_sequence": found.get("stopping_word") or None,
        "usage": usage | {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
    }


class Handler(BaseHTTPRequestHandler):
    """One connection; the routes of the Messages API."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Face

    def do_GET(self) -> None:
        self._reply(self._get)

    def do_POST(self) -> None:
        self._reply(self._post)

    def _get(self) -> dict[str, Any]:
        path = self.path.partition("?")[0]
        if path != "/health":
            self._check_key()
        if path not in PAGES:
            raise ApiError(404, "not_found_error", "Not Found")
        return PAGES[path]

    def _post(self) -> dict[str, Any]:
        raw = self._body()
        self._check_key()
        routes = {"/v1/messages": message_of, "/v1/messages/count_tokens": count_of}
        route = routes.get(self.path.partition("?")[0])
        if route is None:
            raise ApiError(404, "not_found_error", "Not Found")
        try:
            body = dict(json.loads(raw))
        except (ValueError, TypeError):
            raise invalid("the request body is not a JSON object") from None
        return route(body, self.server.engine, self.connection)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True  # what it sends can't be skipped
            raise ApiError(413, "request_too_large", f"Content-Length has to be below {MAX_BODY}")
        return self.rfile.read(int(length))

    def _check_key(self) -> None:
        given = self.headers.get("x-api-key") or ""
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not any(hmac.compare_digest(k.encode(), self.server.key) for k in (given, bearer)):
            raise ApiError(401, "authentication_error", "invalid x-api-key")

    def _reply(self, answer: Callable[[], dict[str, Any]]) -> None:
        name = "req_" + secrets.token_hex(12)
        try:
            status, found = 200, answer()
        except GoneError:
            raise  # ends the connection, without an answer
        except Exception as error:  # an answer all the same: a cut connection may mean a bill
            # The text of an error that isn't ours could hold a prompt: its type has to do.
            foreign = (500, "api_error", type(error).__name__)
            status, kind, text = error.args if isinstance(error, ApiError) else foreign
            found = {"type": "error", "error": {"type": kind, "message": text}, "request_id": name}
        self._send(status, json.dumps(found).encode(), name)

    def _send(self, status: int, body: bytes, name: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("request-id", name)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged: a request line is nobody's business."""


class Face(socketserver.ThreadingTCPServer):
    """The server: a thread for each connection. Not HTTPServer, which looks up the host's name."""

    request_queue_size = 512
    daemon_threads = True

    def __init__(self, engine: Engine, key: str) -> None:
        self.engine, self.key = engine, key.encode()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up while it is answered is no news."""


def leave_with_parent() -> NoReturn:
    """Ends this process when stdin closes: the parent is gone, killed or done with it."""
    while os.read(0, 4096):  # not sys.stdin: its lock would be in the way of an orderly end
        pass
    os._exit(0)


def leave_when_orphaned(parent: int) -> NoReturn:
    """Ends this process when its parent is gone, but a fork of that still holds the pipe open."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main() -> None:
    """Loads the model, says where it listens, and serves until the parent is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is meant for the kernel
    announce = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what native code prints must not be taken for the announcement
    key = sys.stdin.buffer.readline().decode().strip()
    threading.Thread(target=leave_with_parent, daemon=True).start()
    threading.Thread(target=leave_when_orphaned, args=(os.getppid(),), daemon=True).start()
    try:
        face = Face(Engine(args.model, args.threads), key)
        said = {"url": f"http://127.0.0.1:{face.server_address[1]}"}
    except Exception as error:  # the kernel turns it into a message: nobody reads this stderr
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), file=announce, flush=True)
    if "url" in said:
        face.serve_forever()
    os._exit(1)


if __name__ == "__main__":
    main()
