"""The Hydra configuration: one group per axis."""
