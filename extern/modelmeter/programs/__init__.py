"""Programs around the cost model of any model; those with a configuration are Hydra programs."""
