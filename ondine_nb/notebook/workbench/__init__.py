"""The prompt workbench: try a prompt on a sample before the whole frame is run."""

from __future__ import annotations

from .panel import Panel, from_line, from_run, panel

__all__ = ["Panel", "from_line", "from_run", "panel"]
