"""Programs that vary one thing and keep the rest: grids of tiles, modes, lengths, batch sizes, attention kernels."""
