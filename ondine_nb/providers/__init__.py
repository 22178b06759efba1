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
    without_login,
)
from .base_url import BaseUrl
from .catalog import Model, ModelCatalog, keep, kept
from .choose import choose, embedded
from .known import KNOWN, KnownProvider, split_model
from .pricing import FREE, Charge, ModelPrice, find_batch_price, find_price

__all__ = [
    "FREE",
    "KNOWN",
    "Answer",
    "BaseUrl",
    "Capabilities",
    "Charge",
    "Clonable",
    "KnownProvider",
    "Model",
    "ModelCatalog",
    "ModelPrice",
    "Provider",
    "Reply",
    "Settings",
    "capabilities",
    "choose",
    "embedded",
    "find_batch_price",
    "find_price",
    "keep",
    "kept",
    "split_model",
    "without_login",
]
