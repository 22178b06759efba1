"""Assembles a run from a pipeline's options: who is asked, by which stages, over what."""

from __future__ import annotations

from .asking import asker_of, before_text, own_provider, provider_of, routes_of, settings_of
from .checks import check_batches, check_group_batches, check_media, check_packs, check_split
from .inputs import attached_in, evidence_in, examples_in, groups_in, reading
from .plan import RunPlan, budget_of, executor_of, produced
from .stages import evidence_stage, grouping_of, row_stages, splitting_of

__all__ = [
    "RunPlan",
    "asker_of",
    "attached_in",
    "before_text",
    "budget_of",
    "check_batches",
    "check_group_batches",
    "check_media",
    "check_packs",
    "check_split",
    "evidence_in",
    "evidence_stage",
    "examples_in",
    "executor_of",
    "grouping_of",
    "groups_in",
    "own_provider",
    "produced",
    "provider_of",
    "reading",
    "routes_of",
    "row_stages",
    "settings_of",
    "splitting_of",
]
