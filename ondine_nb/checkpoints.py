"""A run's context as JSON and back: every field that outlives the process, exactly."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from .models import Usage

__all__ = ["describe", "restore"]


def describe(context: Any) -> dict[str, Any]:
    """The fields of an `ExecutionContext`, with money, ids and times as text."""
    usage = context.usage
    return {
        "session_id": str(context.session_id),
        "pipeline_id": str(context.pipeline_id),
        "start_time": context.start_time.isoformat(),
        "end_time": context.end_time.isoformat() if context.end_time else None,
        "current_stage_index": context.current_stage_index,
        "last_processed_row": context.last_processed_row,
        "counted_to": context._counted_to,
        "total_rows": context.total_rows,
        "accumulated_cost": str(context.accumulated_cost),
        "accumulated_tokens": context.accumulated_tokens,
        "intermediate_data": context.intermediate_data,
        "failed_rows": context.failed_rows,
        "skipped_rows": context.skipped_rows,
        "trace_id": context.trace_id,
        "span_id": context.span_id,
        "processed_rows": context.processed_rows,
        "journal_rows": context.journal_rows,
        "usage": [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
        ],
        "max_budget": None if context.max_budget is None else str(context.max_budget),
        "price_known": context.price_known,
        "stage_durations": dict(context.stage_durations),
        "stage_costs": {name: str(cost) for name, cost in list(context.stage_costs.items())},
        "kind_costs": {name: str(cost) for name, cost in list(context.kind_costs.items())},
        "attempt_costs": {str(n): str(cost) for n, cost in list(context.attempt_costs.items())},
        "reserved": str(context.reserved),
        "settings": context.settings,
    }


def restore(data: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the context that a checkpoint describes."""
    plain = ("current_stage_index", "last_processed_row", "total_rows", "accumulated_tokens")
    fields: dict[str, Any] = {name: _typed(data, name, int) for name in plain}
    fields |= {name: _typed(data, name, int, 0) for name in ("failed_rows", "skipped_rows")}
    fields |= {name: _typed(data, name, str) for name in ("trace_id", "span_id") if name in data}
    fields["intermediate_data"] = _typed(data, "intermediate_data", dict, {})
    fields["session_id"] = UUID(data["session_id"])
    fields["pipeline_id"] = UUID(data["pipeline_id"])
    fields["start_time"] = datetime.fromisoformat(data["start_time"])
    end = data.get("end_time")
    fields["end_time"] = datetime.fromisoformat(end) if end else None
    fields["accumulated_cost"] = Decimal(data["accumulated_cost"])
    watermark = fields["last_processed_row"]
    up_to = watermark + 1 - fields["failed_rows"] - fields["skipped_rows"] if watermark else 0
    fields["processed_rows"] = _typed(data, "processed_rows", int, max(0, up_to))
    fields["journal_rows"] = _typed(data, "journal_rows", int, 0)
    fields["usage"] = Usage(*(int(count) for count in _typed(data, "usage", list, [])))
    fields["price_known"] = _typed(data, "price_known", bool, True)
    budget = data.get("max_budget")
    fields["max_budget"] = None if budget is None else Decimal(budget)
    fields["stage_durations"] = dict(data.get("stage_durations", {}))
    costs = data.get("stage_costs", {})
    fields["stage_costs"] = {name: Decimal(cost) for name, cost in costs.items()}
    costs = data.get("kind_costs", {})
    fields["kind_costs"] = {name: Decimal(cost) for name, cost in costs.items()}
    costs = data.get("attempt_costs", {})
    fields["attempt_costs"] = {int(n): Decimal(cost) for n, cost in costs.items()}
    fields["reserved"] = Decimal(data.get("reserved", 0))
    fields["settings"] = _typed(data, "settings", dict, {})
    return fields


def _typed(data: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """The field `name` of a checkpoint, if it is what it should be; it may lack with a default."""
    value = data[name] if default is None else data.get(name, default)
    if type(value) is not kind:
        raise TypeError(f"{name} is {type(value).__name__}, not {kind.__name__}")
    return value
