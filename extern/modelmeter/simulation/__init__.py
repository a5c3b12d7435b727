"""Load that arrives: requests, an engine's scheduler, and what becomes of them, step by step without a clock."""
