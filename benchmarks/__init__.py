"""Accuracy and speed beside other tools: what writes reports/comparison.md and reports/benchmarks."""
