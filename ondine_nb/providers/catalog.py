"""The models that a server offers: the last list that was had, kept in the journal folder.

It says what a model can do before anything is sent, and is shown where the network isn't there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .choose import ready
from .known import KNOWN, LOCAL

__all__ = ["Model", "ModelCatalog", "keep", "kept", "model_names"]

_OTHER_KINDS = re.compile(
    r"embed|whisper|tts|transcribe|dall-e|image|moderation|realtime|audio|-live\b|ocr|rerank|guard"
    r"|sora|voice|davinci|babbage",
    re.IGNORECASE,
)
_FILE = "models.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Model:
    """What a server says of a model, limits in tokens; None or "" where it doesn't say."""

    id: str
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    lifecycle: str = ""
    retires: date | None = None
    efforts: frozenset[str] | None = None
    structured: bool | None = None
    images: bool | None = None
    documents: bool | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Model:
        """Reads an entry of any server's list of models; raises ValueError for what is none."""
        can = said.get("capabilities")
        can = can if isinstance(can, Mapping) else {}
        retires = said.get("retires_at")
        try:
            return cls(
                id=str(said["id"]).removeprefix("models/"),  # as Gemini has it
                max_input_tokens=_first(said, _INPUT_LIMITS),
                max_tokens=_first(said, ("max_tokens", "max_completion_tokens")),
                lifecycle=str(said.get("lifecycle") or ""),
                retires=datetime.fromisoformat(str(retires)).date() if retires else None,
                efforts=_efforts(can.get("effort")),
                structured=_supported(can.get("structured_outputs")),
                images=_images(said, can),
                documents=_supported(can.get("pdf_input")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a model: {str(said)[:60]}") from error

    @property
    def writes(self) -> bool:
        """Whether it answers with text, as far as its name tells."""
        return _OTHER_KINDS.search(self.id) is None

    @property
    def end(self) -> str:
        """Whether and when it ends, in words: `retires 30 Nov 2026`; "" where it doesn't."""
        day = f" {self.retires:%d %b %Y}" if self.retires else ""
        if self.lifecycle == "retired":
            return f"retired{day}, answers no more"
        coming = f"retires{day}" if day else ""
        return ", ".join(part for part in (self.lifecycle, coming) if part and part != "active")

    def check(self, *, max_tokens: int, effort: str | None, schema: bool, as_of: date) -> None:
        """Raises `ConfigurationError` for what the model won't take."""
        told = f"by the list of {as_of:%d %b %Y} (`%ondine models` brings it up to date)"
        if self.lifecycle == "retired":
            raise ConfigurationError(
                f"model '{self.id}' is {self.end}, {told}. Choose another with --model"
            )
        if self.max_tokens is not None and max_tokens > self.max_tokens:
            raise ConfigurationError(
                f"--max-tokens is {max_tokens:,}, and '{self.id}' writes {self.max_tokens:,} at "
                f"most, {told}. Give {self.max_tokens} or less"
            )
        if effort is not None and self.efforts is not None and effort not in self.efforts:
            can = ", ".join(sorted(self.efforts)) or "none: leave --effort out"
            raise ConfigurationError(f"--effort is '{effort}', and '{self.id}' takes {can}, {told}")
        if schema and self.structured is False:
            raise ConfigurationError(
                f"'{self.id}' can't be held to a schema, {told}. Choose another with --model, or "
                "leave --schema out"
            )


# What servers call the longest prompt, or the context that prompt and answer share.
_INPUT_LIMITS = ("max_input_tokens", "context_length", "context_window", "max_model_len")


def _first(said: Mapping[str, Any], names: Sequence[str]) -> int | None:
    return next(filter(None, (_count(said.get(name)) for name in names)), None)


def _count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _images(said: Mapping[str, Any], can: Mapping[str, Any]) -> bool | None:
    """Whether it takes pictures, by Anthropic's, Mistral's or OpenRouter's words."""
    if isinstance(can.get("vision"), bool):
        return bool(can["vision"])
    architecture = said.get("architecture")
    kinds = architecture.get("input_modalities") if isinstance(architecture, Mapping) else None
    return "image" in kinds if isinstance(kinds, list) else _supported(can.get("image_input"))


def _supported(capability: Any) -> bool | None:
    if isinstance(capability, Mapping) and capability:
        return bool(capability.get("supported"))
    return capability if isinstance(capability, bool) else None


def _efforts(capability: Any) -> frozenset[str] | None:
    if not isinstance(capability, Mapping) or not capability:
        return None
    named = {name: each for name, each in capability.items() if isinstance(each, Mapping)}
    return frozenset(name for name, each in named.items() if each.get("supported"))


@dataclass(frozen=True, slots=True)
class ModelCatalog:
    """The models of one server, as of a day."""

    as_of: date
    models: tuple[Model, ...]

    def find(self, model: str) -> Model | None:
        """The model with this id, or None."""
        return next((each for each in self.models if each.id == model), None)


def model_names(folder: Path, usual: Sequence[str] = ()) -> list[str]:
    """What `-m` takes here: the models of all providers that can be asked, by their last lists.

    Anthropic's come first and without a prefix, the `usual` ones before the others, `local` last.
    `folder` is the journal's; nothing is asked. Models that answer no more or not with text are
    left out.
    """
    names: list[str] = []
    for row in KNOWN.values():
        provider = ready(row)
        if row.name == "anthropic" and provider is not None:
            names += usual
        listed = None if provider is None else kept(folder, provider.identity)
        models = [each for each in (listed.models if listed else ()) if each.writes]
        prefix = "" if row.name == "anthropic" else f"{row.name}:"
        names += [f"{prefix}{model.id}" for model in models if model.lifecycle != "retired"]
    return list(dict.fromkeys([*names, LOCAL]))


def keep(folder: Path, identity: str, offered: Sequence[Mapping[str, Any]]) -> ModelCatalog:
    """The list as it came from the server `identity`, kept in `folder` where that can be written.

    What isn't an entry of a list of models is left out.
    """
    said = json.loads(json.dumps(list(offered), default=str))
    servers = servers_in(folder / _FILE)
    servers[shown(identity)] = {"as_of": datetime.now().date().isoformat(), "models": said}
    keep_servers(folder / _FILE, servers)
    return _catalogue(servers[shown(identity)])


def kept(folder: Path, identity: str) -> ModelCatalog | None:
    """The last list of the server `identity`, or None."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return _catalogue(servers_in(folder / _FILE)[shown(identity)])
    return None


def _catalogue(entry: Mapping[str, Any]) -> ModelCatalog:
    models = []
    for said in entry["models"]:
        with contextlib.suppress(ValueError, AttributeError):
            models.append(Model.of(said))
    return ModelCatalog(date.fromisoformat(entry["as_of"]), tuple(models))


def servers_in(path: Path) -> dict[str, Any]:
    """What is kept, by server; a file that can't be read counts for nothing: it is a copy."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["format"] == _FORMAT and isinstance(known["servers"], dict):
            servers: dict[str, Any] = known["servers"]
            return servers
    return {}


def keep_servers(path: Path, servers: Mapping[str, Any]) -> None:
    """Keep what is known by server, as a whole or not at all, where that can be written."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_text(json.dumps({"format": _FORMAT, "servers": servers}), encoding="utf-8")
        part.replace(path)


def shown(identity: str) -> str:
    """The server's name without the password that its URL may have."""
    return re.sub(r"//[^/@]*@", "//", identity)
