"""Fetches a file from an http(s) URL out of somebody's data, without reaching into a private net.

Each host, that of a redirect too, is looked up once, and all of its addresses have to be public.
The connection goes to the address that was checked, so a name that resolves otherwise the next time
(DNS rebinding) gains nothing. Proxies of the environment aren't used: they would look it up again.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import secrets
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias
from urllib.parse import quote, urljoin, urlsplit

from ...errors import MissingFileError, TooLargeFileError
from ...text import one_line

__all__ = ["Fetched", "fetch", "is_public", "without_query"]

MOST_FETCHED = 32 * 1024 * 1024
_MOST_KEPT = 512 * 1024 * 1024  # bytes on disk
_MOST_REDIRECTS = 5
_SECONDS = 30.0  # for the whole of it
_READ = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "ondine_nb"}
_SAFE = "/%:@!$&'()*+,;=~-._?[]"  # of a path and a query: quoted already, mostly
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Whether an IP address, as text, is one of the public internet.

    One that stands for an IPv4 address (mapped, 6to4, Teredo, NAT64) has to be public in both.
    """
    known = ipaddress.ip_address(address.partition("%")[0])
    return all(it.is_global and not it.is_multicast for it in (*_inside(known), _outside(known)))


def fetch(
    url: str,
    *,
    most_bytes: int = MOST_FETCHED,
    seconds: float = _SECONDS,
    permits: Callable[[str], bool] = is_public,
) -> bytes:
    """The content of the file at `url`: at most so many bytes, within so many seconds; blocks.

    `permits` judges the IP addresses that may be connected to. Raises `TooLargeFileError`, or
    `MissingFileError` for whatever else there is no file by: no such host, an address that isn't
    permitted, a status that isn't 200.
    """
    ends, start = time.monotonic() + seconds, url
    for _ in range(1 + _MOST_REDIRECTS):
        try:
            status, found = _get(url, most_bytes, ends, permits)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise MissingFileError(f"{_shown(url)} can't be fetched: {_said(error)}") from None
        if status in _REDIRECTS and isinstance(found, str):
            url = urljoin(url, found)
            continue
        if status == 200 and isinstance(found, bytes):
            return found
        raise MissingFileError(f"{_shown(url)} can't be fetched: it answers {status}")
    raise MissingFileError(f"{_shown(start)} can't be fetched: it redirects again and again")


class Fetched:
    """Files at URLs, each fetched once in a run; those that were asked for last are kept on disk.

    They are gone from there when this object is. It may be used from several threads. `permits` and
    the errors are as in `fetch`.
    """

    def __init__(self, permits: Callable[[str], bool] = is_public) -> None:
        self._permits = permits
        self._folder: TemporaryDirectory[str] | None = None
        self._kept: OrderedDict[str, tuple[Path, int]] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def read(self, url: str) -> bytes:
        """The content of the file at `url`."""
        with self._lock:
            own = self._locks.setdefault(url, threading.Lock())
        with own:
            with self._lock:
                path = self._kept[url][0] if url in self._kept else None
            if path is not None:
                with contextlib.suppress(OSError):  # another thread has just let go of it
                    return path.read_bytes()
            content = fetch(url, permits=self._permits)
            self._keep(url, content)
            return content

    def _keep(self, url: str, content: bytes) -> None:
        with self._lock:
            if self._folder is None:
                self._folder = TemporaryDirectory(prefix="ondine_nb_", ignore_cleanup_errors=True)
            path = Path(self._folder.name, secrets.token_hex(8))
            path.write_bytes(content)
            self._kept[url] = path, len(content)
            while sum(size for _, size in self._kept.values()) > _MOST_KEPT and len(self._kept) > 1:
                _, (oldest, _) = self._kept.popitem(last=False)
                oldest.unlink(missing_ok=True)


def without_query(url: str) -> str:
    """The URL for messages: without login and query, where keys may stand."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _get(
    url: str, most_bytes: int, ends: float, permits: Callable[[str], bool]
) -> tuple[int, bytes | str]:
    """One request: its status with the body, or with where it redirects to."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("it is no http or https address")
    if parts.username or parts.password:
        raise ValueError("it holds a login, which isn't sent")
    host, port = parts.hostname.encode("idna").decode(), parts.port or _PORTS[parts.scheme]
    open_to = _connected(host, port, ends, permits)
    connection = http.client.HTTPConnection(host, port)
    try:
        if parts.scheme == "https":
            open_to = _tls().wrap_socket(open_to, server_hostname=host)
        connection.sock = open_to
        query = f"?{quote(parts.query, _SAFE)}" if parts.query else ""
        connection.request("GET", quote(parts.path or "/", _SAFE) + query, headers=_HEADERS)
        answer = connection.getresponse()
        if answer.status in _REDIRECTS:
            return answer.status, answer.getheader("Location", "")
        return answer.status, _body(answer, open_to, url, most_bytes, ends)
    finally:
        connection.close()
        open_to.close()


def _connected(host: str, port: int, ends: float, permits: Callable[[str], bool]) -> socket.socket:
    """A connection to the host at the address that was judged."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not permits(str(address[0])):
            raise ValueError(
                f"{host} is {address[0]}, an address of a private net: only public ones are asked"
            )
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(ends))
            connection.connect(address)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    raise problem


def _body(
    answer: http.client.HTTPResponse,
    connection: socket.socket,
    url: str,
    most_bytes: int,
    ends: float,
) -> bytes:
    if answer.status != 200:
        return b""
    if answer.getheader("Content-Encoding", "identity") != "identity":
        raise ValueError("it answers in an encoding that nobody asked for")
    told, content = answer.length, bytearray()
    while True:
        if (told or 0) > most_bytes or len(content) > most_bytes:
            raise TooLargeFileError(
                f"{_shown(url)} has more than the {most_bytes:,} bytes that are fetched"
            )
        connection.settimeout(_left(ends))
        read = answer.read1(_READ)
        if not read:
            break
        content += read
    if told is not None and len(content) < told:
        raise OSError(f"it ended after {len(content):,} of {told:,} bytes")
    return bytes(content)


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("it takes too long")
    return left


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _outside(address: Address) -> Address:
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def _inside(address: Address) -> tuple[Address, ...]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    known: list[Address | None] = [address.ipv4_mapped, address.sixtofour]
    known += address.teredo or ()
    if address in _NAT64:
        known.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(it for it in known if it is not None)


def _shown(url: str) -> str:
    return one_line(without_query(url), 200)


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
