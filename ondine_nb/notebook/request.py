"""What one cell asks for: its options, its frame and its prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..budget import SessionBudget

__all__ = ["NOT_FOR_THE_PIPELINE", "Request", "shown"]

NOT_FOR_THE_PIPELINE = ("out", "input", "dry_run", "background", "quiet")


@dataclass
class Request:
    """One cell: its options, its frame and its prompt."""

    options: dict[str, Any]
    frame: Any
    prompt: str
    session: SessionBudget
    view: Any = None

    @property
    def out(self) -> str:
        """The name that the result is bound to."""
        return str(self.options.get("out") or "_ondine")

    def kept(self, run: Any) -> str:
        """What an interrupted run leaves, in words."""
        context = run.context
        return (
            f"{self.out} has {context.done_rows:,} of {context.total_rows:,} rows. Run the cell "
            "again for the rest: what is answered or in flight is not paid again"
        )

    def pipeline(self) -> Any:
        """Raises `ConfigurationError` for what can't be run."""
        from ..pipeline import Pipeline

        wanted = {
            option: value
            for option, value in self.options.items()
            if option not in NOT_FOR_THE_PIPELINE and value is not None and value is not False
        }
        return Pipeline(
            self.frame, self.prompt, name=shown(self.options["input"]), **wanted
        ).within(self.session)

    def run(self, pipeline: Any) -> Any:
        """A run of it, named as its result will be."""
        from ..run import Run

        return Run(pipeline, name=self.out)


def shown(source: Any) -> str:
    """What messages call the frame."""
    return source if isinstance(source, str) and len(source) <= 40 else "the frame"
