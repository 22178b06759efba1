"""Drafts that last: what is on a bench, kept in `.ondine/drafts/`, over a re-run and a restart.

A draft belongs to what the bench was opened with: the same cell finds it again, one whose prompt or
options were changed begins anew. A text in which something looks like a key is left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...evaluation import json_value, plain_settings
from ...journal import make_folder
from ..ui import has_key

__all__ = ["KeptDraft"]

logger = logging.getLogger("ondine_nb")
_FORMAT = 1


class KeptDraft:
    """The draft of a bench over the frame `name` that was opened with `start` (JSON)."""

    def __init__(self, folder: Path, name: str, start: Mapping[str, Any]) -> None:
        said = json.dumps([name, plain_settings(start)], sort_keys=True, default=str)
        self.journal = folder
        digest = hashlib.sha256(said.encode()).hexdigest()[:16]
        self.path: Path = folder / "drafts" / f"{digest}.json"

    def read(self) -> dict[str, Any]:
        """What was kept; {} where nothing was, or what is there is no draft."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            known = json.loads(self.path.read_text(encoding="utf-8"))
            if known["format"] == _FORMAT and isinstance(known["draft"], dict):
                return dict(known["draft"])
        return {}

    def write(self, draft: Mapping[str, Any]) -> bool:
        """Keep `draft`, durably and as a whole; tells whether all of it could be kept."""
        kept = {name: it for name, it in draft.items() if not has_key(json.dumps(json_value(it)))}
        text = json.dumps({"format": _FORMAT, "draft": json_value(kept)}, ensure_ascii=True)
        part = self.path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            make_folder(self.journal)
            self.path.parent.mkdir(exist_ok=True)
            with part.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except OSError as error:
            logger.warning("the draft can't be kept in %s: %s", self.path, error.strerror or error)
            with contextlib.suppress(OSError):
                part.unlink()
            return False
        return len(kept) == len(draft)
