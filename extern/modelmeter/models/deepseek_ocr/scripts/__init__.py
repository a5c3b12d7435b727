"""Programs around the cost model, each a Hydra program."""
