"""The simulation beside queueing theory, served traces and published sweeps of concurrency: reports/simulation.md."""
