"""Verification programs: the cost model against the real PyTorch modules."""
