"""Who answers: the `Provider` protocol, prices, the catalog of models, the choice of one."""

from __future__ import annotations

from .base import (
    Answer,
    BatchApi,
    BatchLimits,
    BatchResult,
    Capabilities,
    Clonable,
    Provider,
    Reply,
    ServerBatch,
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
from .probe import (
    PROBE,
    Probed,
    by_chat,
    enforces_schema,
    is_enforced,
    is_for_good,
    keep_probed,
    probe_settings,
    probed,
    refuses_schema,
)

__all__ = [
    "ANY_MODEL",
    "FREE",
    "KNOWN",
    "LOCAL",
    "PROBE",
    "Answer",
    "BaseUrl",
    "BatchApi",
    "BatchLimits",
    "BatchResult",
    "Capabilities",
    "Charge",
    "Clonable",
    "KnownProvider",
    "MediaRules",
    "Model",
    "ModelCatalog",
    "ModelPrice",
    "OpenAIProvider",
    "Probed",
    "Provider",
    "Reply",
    "ServerBatch",
    "Settings",
    "by_chat",
    "capabilities",
    "check_provider",
    "choose",
    "embedded",
    "enforces_schema",
    "find_batch_price",
    "find_price",
    "is_enforced",
    "is_for_good",
    "keep",
    "keep_probed",
    "kept",
    "model_names",
    "off_wire",
    "packaged",
    "probe_settings",
    "probed",
    "ready",
    "refuses_schema",
    "split_model",
    "without_login",
]
