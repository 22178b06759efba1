"""What a run can be told, checked: one set of options behind magic, API and `%config`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

from ..errors import ConfigurationError, nearest
from ..models import usd

__all__ = ["DEFAULT_MODEL", "EFFORTS", "EXECUTORS", "Options"]

DEFAULT_MODEL = "claude-haiku-5-5"
EXECUTORS = ("async", "sync", "streaming", "dask")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
_MOST_AT_ONCE = 256
_MAX_TOKENS = 1024
_BATCH_CHUNK = 25_000
_MOST_IN_A_PACK = 100
_MOST_PACKED = 20 * _MOST_AT_ONCE
_THINKING_MAX_TOKENS = 8192
_ALWAYS_THINKS = re.compile(r"claude-(opus-5-5|fable|mythos)")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a run; money in USD, `timeout` in seconds for one attempt, `chunk_size` in
    rows, `to` a path ending in .csv, .parquet, .jsonl or / (a folder of Parquet files). `executor`
    None chooses by the data; it may be a `DaskExecutor`, too, for its cluster.

    Raises `ConfigurationError` for a value that can't be meant.
    """

    model: str = DEFAULT_MODEL
    schema: Any = None
    column: str = "response"
    overwrite: bool = False
    budget: Decimal | None = None
    concurrency: int | str = "auto"
    max_tokens: int | None = None
    effort: str | None = None
    thinking: str = "off"
    system: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    jinja: bool = False
    sample: int | None = None
    fresh: bool = False
    batch: bool = False
    pack: int = 1
    timeout: float = 120.0
    on_error: str = "keep"
    cache: str = "auto"
    to: str | None = None
    executor: Any = None
    chunk_size: int = 1000
    base_url: str | None = None
    price_in: Decimal | None = None
    price_out: Decimal | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """The options given by name; None leaves an option at its default.

        Raises `ConfigurationError` for a name or a value that can't be.
        """
        known = {option.name for option in fields(cls)}
        for name in given:
            if name not in known:
                near = nearest(name, known)
                hint = f" Did you mean '{near}'?" if near else ""
                raise ConfigurationError(f"there is no option '{name}'.{hint}")
        return cls(**{name: value for name, value in given.items() if value is not None})

    def __post_init__(self) -> None:
        for name in ("budget", "price_in", "price_out"):
            object.__setattr__(self, name, usd(getattr(self, name), _flag(name)))
        self._whole("max_tokens", 1)
        self._whole("sample", 1)
        self._whole("chunk_size", 1)
        self._check_pack()
        if self.concurrency != "auto":
            self._whole("concurrency", 1)
        self._one_of("effort", EFFORTS)
        self._one_of("thinking", ("off", "auto"))
        self._one_of("on_error", ("keep", "stop"))
        self._one_of("cache", ("auto", "off"))
        self._check_executor()
        self._check_to()
        self._text("model")
        self._text("column")
        self._check_timeout()
        if self.base_url and not re.match(r"https?://[^/\s]+", self.base_url):
            raise ConfigurationError(
                f"--base-url: '{self.base_url}' is not a URL. Write it like http://127.0.0.1:8080"
            )
        if not isinstance(self.params, Mapping):
            kind = type(self.params).__name__
            raise ConfigurationError(f"--param has to be names with values (a dict), not {kind}")
        if self.system is not None and not isinstance(self.system, str):
            raise ConfigurationError(f"--system has to be text, not {type(self.system).__name__}")

    def width(self, most: int | None = None) -> int:
        """Rows at once, at most; `most` is how many the provider says that it takes."""
        if self.concurrency == "auto":
            return most or _MOST_AT_ONCE
        return int(self.concurrency)

    def rows_at_once(self, width: int) -> int:
        """Rows on their way, for `width` requests at once: many more in packs.

        Where the number is found by itself, at most 5,120 of them are held in memory.
        """
        if self.concurrency == "auto":
            return max(width, min(width * self.pack, _MOST_PACKED))
        return width * self.pack

    @property
    def executor_name(self) -> str | None:
        """What the executor is called, also where it was given as an object."""
        given = self.executor
        return given if given is None or isinstance(given, str) else "dask"

    @property
    def rows_a_chunk(self) -> int:
        """Rows of a chunk that is streamed; many for batches, which wait for one another."""
        return max(self.chunk_size, _BATCH_CHUNK) if self.batch else self.chunk_size

    def answer_tokens(self, usual: int | None = None) -> int:
        """`max_tokens`, or its default: larger where the model can't be told not to think.

        `usual` is the provider's own default.
        """
        if self.max_tokens is not None:
            return self.max_tokens
        if usual is not None:
            return usual
        thinks = self.thinking == "auto" or _ALWAYS_THINKS.match(self.model)
        return _THINKING_MAX_TOKENS if thinks else _MAX_TOKENS

    def _whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is None:
            return
        try:
            number = int(str(value))
        except ValueError:
            number = least - 1
        if number < least or isinstance(value, bool):
            auto = " or 'auto'" if name == "concurrency" else ""
            raise ConfigurationError(
                f"{_flag(name)} is {value}: it has to be a whole number of {least} or more{auto}"
            )
        object.__setattr__(self, name, number)

    def _one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value is not None and value not in allowed:
            near = nearest(str(value), allowed)
            hint = f" Did you mean '{near}'?" if near else ""
            raise ConfigurationError(
                f"{_flag(name)} is '{value}': it has to be one of {', '.join(allowed)}.{hint}"
            )

    def _text(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, str) or not value.strip():
            raise ConfigurationError(f"{_flag(name)} has to be a name, not {value!r}")

    def _check_pack(self) -> None:
        self._whole("pack", 1)
        if self.pack > _MOST_IN_A_PACK:
            raise ConfigurationError(
                f"--pack is {self.pack}: it has to be {_MOST_IN_A_PACK} rows or fewer. From 20 on "
                "there is little left to save"
            )
        if self.pack > 1 and self.batch:
            raise ConfigurationError(
                "--pack and --batch can't go together: leave one of them out. --batch halves the "
                "price of every token, --pack sends what all rows have in common fewer times"
            )

    def _check_executor(self) -> None:
        if getattr(self.executor, "name", None) != "dask":
            self._one_of("executor", EXECUTORS)
        if self.executor_name == "dask" and self.batch:
            raise ConfigurationError(
                "--batch and --executor dask can't go together: leave one of them out. A batch is "
                "a few large requests, which go from here"
            )

    def _check_to(self) -> None:
        if self.to is None:
            return
        object.__setattr__(self, "to", os.fspath(self.to))
        if self.executor_name not in (None, "streaming", "dask"):
            raise ConfigurationError(
                f"--to writes as the rows stream, and --executor is '{self.executor}': "
                "leave --executor out"
            )

    def _check_timeout(self) -> None:
        try:
            seconds = float(self.timeout)
        except (TypeError, ValueError):
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise ConfigurationError(f"--timeout is {self.timeout}: it has to be seconds above 0")
        object.__setattr__(self, "timeout", seconds)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
