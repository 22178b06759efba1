"""Claude in the clouds: which of the SDK's clients reaches it, and what that needs.

They take the connections, time-outs and retries of this package as `AsyncAnthropic` does. Each
request is signed or carries a token that expires, so it goes through the SDK, never around it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ...errors import ConnectionLostError, FatalProviderError, RowError, RunError
from ..known import KnownProvider

__all__ = ["body_of", "client_of", "is_priced", "is_unknown_model", "lacking"]

_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
# Bedrock has two routes. Ids with a version or a date, inference profiles (`us.anthropic.…`, ARNs)
# and the models up to 4.6 are invoked one by one; newer ones are behind a Messages API.
_INVOKED = re.compile(
    r"-v\d+(:\d+)?$|-20\d{6}|^arn:|^[a-z-]+\.anthropic\.|claude-[a-z]+-4(-[0-6])?$"
)
_INVOKED_VERSION = "bedrock-2023-05-31"  # of the API, that all of those know
_LIBRARIES = {"bedrock": ("boto3",), "vertex": ("google", "google.auth")}
# What Bedrock says, with a status 400, of a model that it hasn't.
_NO_MODEL = re.compile(r"model identifier is invalid|on-demand throughput isn.t supported", re.I)


def lacking(row: KnownProvider) -> str:
    """What this machine lacks to ask a cloud, with the remedy; "" where nothing is known to.

    Whether its credentials are right the cloud alone can tell, at the first request.
    """
    signs = row.extra == "vertex" or (row.extra == "bedrock" and row.key is None)
    if signs and not all(map(_installed, _LIBRARIES[row.extra])):
        return f'it needs an extra: pip install "ondine-nb[{row.extra}]"'
    missing = [name for name in row.needs if not os.environ.get(name)]
    if row.extra == "bedrock" and not (row.at or any(map(os.environ.get, _REGION))):
        missing.append("AWS_REGION")
    if row.name == "gcloud" and not row.at:
        needed = "ANTHROPIC_GOOGLE_CLOUD_WORKSPACE_ID"
        missing += [] if os.environ.get(needed) else [needed]
    if row.name == "foundry":
        missing += [] if row.key else row.keys
        at = row.at or os.environ.get("ANTHROPIC_FOUNDRY_RESOURCE")
        missing += [] if at else ["ANTHROPIC_FOUNDRY_RESOURCE"]
    return f"set {' and '.join(missing)}" if missing else ""


def is_priced(row: KnownProvider) -> bool:
    """Whether the table's prices hold here: Google's are those of its global endpoint."""
    return row.name != "vertex" or os.environ.get("CLOUD_ML_REGION") == "global"


def _installed(module: str) -> bool:
    return find_spec(module) is not None


def client_of(anthropic: Any, row: KnownProvider, model: str, options: dict[str, Any]) -> Any:
    """The SDK's client for `model` in a cloud. Raises what the SDK raises."""
    invoked = _is_invoked(model)
    name = row.client if row.name != "bedrock" or invoked else f"{row.client}Mantle"
    client = getattr(anthropic, name)(**options)
    for step in ("_prepare_options", "_prepare_request"):  # where it signs, or fetches a token
        setattr(client, step, _told(row, anthropic, getattr(client, step)))
    return client


def _told(row: KnownProvider, anthropic: Any, sign: Callable[..., Any]) -> Callable[..., Any]:
    """`sign`, with what its libraries raise as errors of ours: nothing was sent by then."""

    async def signing(*given: Any) -> Any:
        try:
            return await sign(*given)
        except anthropic.AnthropicError:
            raise
        except Exception as error:
            raise _unsendable(row, error) from None

    return signing


def body_of(row: KnownProvider, model: str) -> dict[str, Any]:
    """What a request says beside what every request says, as parameters of the SDK."""
    if row.name == "bedrock" and _is_invoked(model):
        return {"extra_body": {"anthropic_version": _INVOKED_VERSION}}
    return {}


def _is_invoked(model: str) -> bool:
    """Whether a model of Bedrock's is asked by its older route."""
    return _INVOKED.search(model) is not None


def is_unknown_model(status: int, told: str) -> bool:
    """Whether a cloud says so that it hasn't got the model."""
    return status == 400 and _NO_MODEL.search(told) is not None


def _unsendable(row: KnownProvider, error: Exception) -> RunError | RowError:
    """What an error means that came of signing a request, before anything was sent."""
    told = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    if type(error).__name__ in ("TransportError", "EndpointConnectionError", "ConnectTimeoutError"):
        return ConnectionLostError(
            f"no token for {row.title} could be had, nothing was sent: {told}", unreachable=True
        )
    return FatalProviderError(
        f"no request can be sent to {row.title}: {told}. Check its credentials on this machine"
    )
