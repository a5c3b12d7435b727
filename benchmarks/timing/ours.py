"""Our own measurements of an H100 and an H200 (reports/calibration) as rows of kernels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from modelmeter.calibration.kernel_rows import KernelRows, pooled
from modelmeter.calibration.kernel_tables import read_tables

#: folder of reports/calibration by device
OURS: Final[Mapping[str, str]] = {"H100-SXM": "nvidia-h100-80gb-hbm3", "H200": "nvidia-h200"}
CALIBRATION: Final = Path("reports/calibration")


def our_rows(folder: Path) -> dict[str, KernelRows]:
    """By class, the rows of a folder's table that are one kernel each."""
    return pooled(read_tables(folder / "kernels.parquet"))
