"""Benchmarks: never a timed test; run them with `make bench`."""
