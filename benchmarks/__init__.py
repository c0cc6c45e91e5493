"""Benchmarks: `make bench` runs them all in one go, alternating, and writes docs/benchmarks.md."""
