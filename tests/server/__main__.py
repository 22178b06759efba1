"""`python -m tests.server`: the server as a process of its own."""

from __future__ import annotations

from .server import main

main()
