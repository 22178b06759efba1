"""The embedded model: a small real model on llama.cpp, in a child process that serves it."""

from __future__ import annotations

from .process import (
    MODEL_ID,
    MODEL_NAME,
    MODEL_SHA256,
    LocalModel,
    diagnose,
    fetch_model,
    model_path,
    notice,
    shared,
)
from .provider import LocalProvider

__all__ = [
    "MODEL_ID",
    "MODEL_NAME",
    "MODEL_SHA256",
    "LocalModel",
    "LocalProvider",
    "diagnose",
    "fetch_model",
    "model_path",
    "notice",
    "shared",
]
