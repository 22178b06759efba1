"""The public API as type checkers see it; `.ci/run` gives the folder to mypy, a test to pyright."""
