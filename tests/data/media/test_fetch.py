"""Fetching: public addresses only, those of redirects too, and the one that was judged is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ondine_nb.data.media.fetch import fetch, is_public
from ondine_nb.errors import MissingFileError, TooLargeFileError


class _Site(BaseHTTPRequestHandler):
    """`/file` has 5,000 bytes; the other paths do what they are called."""

    asked: list[str]
    hosts: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        type(self).hosts.append(self.headers["Host"])
        name = self.path.strip("/").partition("?")[0]
        if name == "gone":
            self.send_error(404)
        elif name.startswith("to="):
            self._head(302, Location=name[3:].replace("%3A", ":"))
        elif name == "again":
            self._head(302, Location="/again")
        elif name == "packed":
            self._head(200, **{"Content-Encoding": "gzip", "Content-Length": "3"})
            self.wfile.write(b"abc")
        elif name == "cut":
            self._head(200, **{"Content-Length": "9000"})
            self.wfile.write(b"x" * 5_000)
        elif name == "endless":
            self._head(200)
            self.wfile.write(b"x" * 300_000)
        else:
            self._head(200, **{"Content-Length": "5000"})
            self.wfile.write(b"x" * 5_000)

    def _head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing in the tests' output."""


@pytest.fixture(scope="module")
def running() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def site(running: ThreadingHTTPServer) -> str:
    _Site.asked, _Site.hosts = [], []
    return f"http://127.0.0.1:{running.server_address[1]}"


def anywhere(_: str) -> bool:
    return True


def test_a_file_is_fetched_where_its_address_is_permitted(site: str) -> None:
    assert fetch(f"{site}/file?a=1#part", permits=anywhere) == b"x" * 5_000
    assert fetch(f"{site}/to=/file", permits=anywhere) == b"x" * 5_000
    assert fetch(f"{site}/a b ü", permits=anywhere) == b"x" * 5_000
    assert _Site.asked == ["/file?a=1", "/to=/file", "/file", "/a%20b%20%C3%BC"]


def test_a_private_address_is_never_connected_to(site: str) -> None:
    port = site.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "0x7f.1", "2130706433"):
        with pytest.raises(MissingFileError, match="can't be fetched"):
            fetch(f"http://{host}:{port}/file")
    assert _Site.asked == []


def test_a_redirect_is_judged_like_the_first_address(site: str) -> None:
    judged: list[str] = []

    def only_once(address: str) -> bool:
        judged.append(address)
        return len(judged) < 2

    with pytest.raises(MissingFileError, match="an address of a private net"):
        fetch(f"{site}/to=/file", permits=only_once)
    assert _Site.asked == ["/to=/file"]
    for target in ("file:///etc/passwd", "ftp://example.org/a"):
        with pytest.raises(MissingFileError, match="no http or https address"):
            fetch(f"{site}/to={target}", permits=anywhere)
    with pytest.raises(MissingFileError, match="again and again"):
        fetch(f"{site}/again", permits=anywhere)


def test_a_name_that_resolves_otherwise_the_second_time_gains_nothing(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what is connected to is the address that was judged."""
    looked_up, judged, resolve = [], [], socket.getaddrinfo
    port = int(site.rpartition(":")[2])

    def rebinding(host: str, *rest: Any, **more: Any) -> Any:
        looked_up.append(host)
        return resolve("127.0.0.1" if len(looked_up) == 1 else "127.0.0.2", *rest, **more)

    def first_only(address: str) -> bool:
        judged.append(address)
        return address == "127.0.0.1"

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert len(fetch(f"http://pictures.example:{port}/file", permits=first_only)) == 5_000
    assert (looked_up, judged) == (["pictures.example"], ["127.0.0.1"])
    assert _Site.hosts == [f"pictures.example:{port}"]


def test_one_private_address_of_several_is_enough_to_refuse(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(site.rpartition(":")[2])
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in ("127.0.0.1", "10.0.0.7")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(MissingFileError, match=r"10\.0\.0\.7"):
        fetch(f"http://both.example:{port}/file", permits=lambda it: it == "127.0.0.1")
    assert _Site.asked == []


def test_what_is_too_large_is_let_go_of_at_the_ceiling(site: str) -> None:
    for path in ("file", "endless"):
        with pytest.raises(TooLargeFileError, match="4,000 bytes"):
            fetch(f"{site}/{path}", most_bytes=4_000, permits=anywhere)


@pytest.mark.parametrize(
    ("path", "said"),
    [("gone", "answers 404"), ("packed", "encoding"), ("cut", "ended after 5,000 of 9,000")],
)
def test_what_isnt_there_as_a_whole_is_named(site: str, path: str, said: str) -> None:
    with pytest.raises(MissingFileError, match=said):
        fetch(f"{site}/{path}", permits=anywhere)


def test_a_login_is_neither_sent_nor_shown() -> None:
    with pytest.raises(MissingFileError, match="login") as caught:
        fetch("http://me:secret@example.org/a.png?key=hidden", permits=anywhere)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1",
        "ff02::1",        "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_of_private_nets_arent_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_addresses_of_the_internet_are(address: str) -> None:
    assert is_public(address)
