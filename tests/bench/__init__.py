"""Benchmarks: ratios measured side by side in one run. `python -m tests.bench`; never part of the timed tests."""
