"""How long a test waits for a thing that has to come: as long as a busy machine may need.

A test waits for the thing, which ends the wait; these seconds only end a test that hangs. So none
of them says how fast anything is, and there is one for all.
"""

__all__ = ["PATIENCE"]

PATIENCE = 300.0  # seconds; below `timeout` in pyproject.toml, which ends a test as a whole
