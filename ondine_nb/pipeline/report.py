"""How a run came out: its report as JSON, its closing line, and what it lacks of what was asked."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, RunError
from ..models import RowCounts
from ..orchestration import ExecutionContext
from ..providers import without_login
from ..text import dollars
from .options import Options

if TYPE_CHECKING:
    from .run import Run

__all__ = ["check_report", "closing_line", "report_of", "shown_path", "unmet", "write_report"]


def unmet(options: Options, counts: RowCounts, context: ExecutionContext) -> str | None:
    """The first thing that `fail_above` or `require` asks and the run isn't, in one line."""
    complete = options.require == "complete"
    allowed = options.fail_above or ("0%" if complete else "100%")
    failed, tried = counts.failed, counts.failed + counts.answered
    if failed * 100 > Decimal(allowed.removesuffix("%")) * tried:
        asked = f"--fail-above is {allowed}" if options.fail_above else "--require is complete"
        return (
            f"{failed:,} of {tried:,} rows failed ({failed / tried:.1%}), and {asked}: run.errors "
            "says why, and every answer is kept"
        )
    cut_off = context.control.stopping and context.metrics.open_ended
    if complete and (counts.not_run or cut_off):
        some = f"{counts.not_run:,} of {counts.total:,} rows were"
        reason = f" ({context.control.reason})" if context.control.reason else ""
        return (
            f"{'the last rows were' if cut_off else some} not run{reason}, and --require is "
            "complete: run it again for the rest, what is answered is not paid again"
        )
    return None


def report_of(run: Run) -> dict[str, Any]:
    """A run as JSON: money as text in USD (exactly), times in ISO 8601, durations in seconds."""
    context, costs = run.context, run.costs
    end = context.end_time
    return {
        "run": run.id,
        "name": run.name,
        "state": run.state,
        "success": run.success,
        "error": _error(run.error),
        "source": run.source,
        "model": run.model,
        "provider": without_login(run.pipeline.provider.identity),
        "schema": _schema(run),
        "columns": list(run.columns),
        "started": context.start_time.isoformat(),
        "ended": None if end is None else end.isoformat(),
        "seconds": round(context.duration, 3),
        "rows": _rows(run.counts),
        "failures": dict(context.metrics.failures),
        "tokens": {"input": costs.input_tokens, "output": costs.output_tokens},
        "cost_usd": _usd(costs.total_cost),
        "possibly_billed_usd": _usd(context.metrics.possibly_billed),
        "budget_usd": _usd(run.pipeline.options.budget),
        "journal": str(run.pipeline.journal.folder),
        "to": run.pipeline.options.to,
    }


def _schema(run: Run) -> str | None:
    """How answers are held to the schema, of several models the least; None without one."""
    if run.pipeline.schema is None:
        return None
    routes = [asker.routes for asker in run.plan.askers]
    held = {"by the server" if each is None else each.held_by for each in routes}
    return next(how for how in ("by words", "not known", "by the server") if how in held)


def _rows(counts: RowCounts) -> dict[str, int]:
    return {
        "total": counts.total,
        "answered": counts.answered - counts.journal,
        "journal": counts.journal,
        "failed": counts.failed,
        "skipped": counts.skipped,
        "not_run": counts.not_run,
    }


def _error(error: BaseException | None) -> dict[str, str] | None:
    return None if error is None else {"type": type(error).__name__, "message": str(error)}


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


def closing_line(run: Run) -> str:
    """Name, state, rows by outcome, cost, seconds and journal, in one line."""
    counts = _rows(run.counts)
    total = counts.pop("total")
    words = {"journal": "from the journal", "not_run": "not run"}
    parts = [f"{rows:,} {words.get(name, name)}" for name, rows in counts.items() if rows]
    cost = "price unknown" if run.cost is None else dollars(run.cost)
    return (
        f"{run.name}: {run.state}, {total:,} rows ({', '.join(parts) or 'nothing to do'}), {cost}, "
        f"{run.context.duration:.1f} s, journal {shown_path(run.pipeline.journal.folder)}, "
        f"run {run.id}"
    )


def shown_path(folder: Path) -> str:
    """The folder as seen from the working directory, where it is in it."""
    with suppress(ValueError, OSError):
        return str(folder.relative_to(Path.cwd()))
    return str(folder)


def check_report(path: str) -> None:
    """Raises `ConfigurationError` where no report can be written."""
    folder = Path(path).expanduser().absolute().parent
    if Path(path).expanduser().is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigurationError(
            f"--report {path} can't be written: name a file in a folder that is there"
        )


def write_report(run: Run, path: str) -> None:
    """Write the report, as a whole or not at all. Raises `RunError` where that can't be done."""
    target = Path(path).expanduser()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        text = json.dumps(report_of(run), indent=2, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8", errors="replace")
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise RunError(
            f"the report can't be written to {path} ({error.strerror or error}): it is in "
            "run.report()"
        ) from error
