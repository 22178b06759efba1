"""Base URLs: checked before anything is sent, one identity for each server, logins kept apart."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from ...errors import ConfigurationError

__all__ = ["BaseUrl"]

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A server's address as it is asked: normalised, without login.

    `identity` stands for the server in the journal's keys: scheme and host in lower case, no
    default port, no slash at the end. `spellings` are what earlier versions may have called it
    there. `login` is the value of a header `Authorization`, or "".
    """

    identity: str
    spellings: tuple[str, ...]
    login: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)

    @classmethod
    def read(cls, given: str, name: str = "--base-url") -> BaseUrl:
        """Raises `ConfigurationError` for what is no URL of a server, by the `name` of what it is.

        The message shows no password.
        """
        shown = re.sub(r"//[^/]*@", "//", given)
        example = f"{name}: '{shown}' is not a URL. Write it like http://127.0.0.1:8080"
        if not re.match(r"https?://[^/\s]+", given, re.IGNORECASE) or re.search(r"\s", given):
            raise ConfigurationError(example)
        try:
            parts = urlsplit(given)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError as error:  # a port that is no number, a bracket that isn't closed
            raise ConfigurationError(example) from error
        if not host or parts.query or parts.fragment:
            raise ConfigurationError(example)
        scheme, path = parts.scheme.lower(), parts.path.rstrip("/")
        netloc = f"[{host}]" if ":" in host else host
        usual = port in (None, _PORTS[scheme])
        identity = urlunsplit((scheme, netloc if usual else f"{netloc}:{port}", path, "", ""))
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        login = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        explicit = urlunsplit((scheme, f"{netloc}:{_PORTS[scheme]}", path, "", ""))
        others = [shown, identity, *([explicit] if usual else [])]
        spellings = dict.fromkeys(at for other in others for at in (other, f"{other.rstrip('/')}/"))
        return cls(
            identity,
            tuple(other for other in spellings if other != identity),
            f"Basic {login}" if login else "",
            password,
        )
