"""Programs around the cost model; those with a configuration are Hydra programs."""
