"""The Hydra configuration of the groups that all models share, found behind a model's own."""
