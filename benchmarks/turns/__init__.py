"""Benchmarks of durable turns: `make bench-turns` runs them beside DBOS and Restate."""
