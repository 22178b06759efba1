"""Who answers: the `Provider` protocol, prices, the catalog of models, the choice of one."""

from __future__ import annotations

from .base import (
    Answer,
    Capabilities,
    Clonable,
    Provider,
    Reply,
    Settings,
    capabilities,
    off_wire,
    without_login,
)
from .catalog import Model, ModelCatalog, keep, kept, model_names
from .choose import check_provider, choose, embedded, ready
from .http import BaseUrl
from .known import KNOWN, LOCAL, KnownProvider, packaged, split_model
from .media_rules import ANY_MODEL, MediaRules
from .openai import OpenAIProvider
from .pricing import FREE, Charge, ModelPrice, find_batch_price, find_price
from .probe import enforces_schema

__all__ = [
    "ANY_MODEL",
    "FREE",
    "KNOWN",
    "LOCAL",
    "Answer",
    "BaseUrl",
    "Capabilities",
    "Charge",
    "Clonable",
    "KnownProvider",
    "MediaRules",
    "Model",
    "ModelCatalog",
    "ModelPrice",
    "OpenAIProvider",
    "Provider",
    "Reply",
    "Settings",
    "capabilities",
    "check_provider",
    "choose",
    "embedded",
    "enforces_schema",
    "find_batch_price",
    "find_price",
    "keep",
    "kept",
    "model_names",
    "off_wire",
    "packaged",
    "ready",
    "split_model",
    "without_login",
]
