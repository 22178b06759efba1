"""Asking in batches: which questions share one, and the life of each on the server."""

from __future__ import annotations

from .job import BatchPolicy
from .plan import Batches

__all__ = ["BatchPolicy", "Batches"]
