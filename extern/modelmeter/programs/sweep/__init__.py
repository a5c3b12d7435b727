"""Programs that vary one thing and keep the rest: crop grids, modes, lengths, batch sizes, attention kernels."""
