"""Measurements, by `python -m tests.bench NAME`; none runs with the tests."""
