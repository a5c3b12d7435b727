"""What a measurement was taken on: device, driver, clocks, versions. Nothing here changes a setting."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import torch

#: what nvidia-smi is asked for
CARD: Final = (
    "name",
    "driver_version",
    "memory.total",
    "memory.used",
    "power.limit",
    "clocks.max.sm",
    "clocks.max.memory",
    "ecc.mode.current",
    "mig.mode.current",
)
STATE: Final = ("clocks.sm", "clocks.memory", "temperature.gpu", "power.draw", "pstate", "utilization.gpu")


def part_options(description: str | None) -> argparse.ArgumentParser:
    """The options that every part takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=Path, required=True, help="what benchmarks.gpu.shapes wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seconds", type=float, default=200.0, help="after which nothing is begun  [default: 200]")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="little of everything: for a CPU")
    return parser


def missing(device: str) -> str:
    """Why nothing can be measured on this device here; nothing where it can."""
    if device != "cuda" or torch.cuda.is_available():
        return ""
    return (
        f"PyTorch {torch.__version__} finds no CUDA device here; run on a machine that has one, with a CUDA build of "
        "PyTorch, or give --device cpu --small"
    )


def queried(fields: tuple[str, ...]) -> dict[str, str]:
    """What nvidia-smi answers about the first card; nothing where there is no such program."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in (answer.stdout.splitlines() or [""])[0].split(",")]
    return dict(zip(fields, values, strict=False))


def versions() -> dict[str, str]:
    """Releases of what computes, without importing it."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("transformers", "triton", "numpy", "pyarrow", "nvidia-cudnn-cu13", "nvidia-cublas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str) -> dict[str, Any]:
    """The device as PyTorch and nvidia-smi report it; under load where it was busy until now."""
    content: dict[str, Any] = {"device": device, "versions": versions(), "host_cores": os.cpu_count()}
    if device != "cuda":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return content | {"name": platform.processor() or platform.machine(), "memory_bytes": memory}
    properties = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info()
    return content | {
        "name": properties.name,
        "memory_bytes": int(properties.total_memory),
        "memory_info": {"free": free, "total": total},
        "multiprocessors": properties.multi_processor_count,
        "l2_bytes": int(properties.L2_cache_size),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": str(torch.version.cuda),
        "cudnn": torch.backends.cudnn.version(),
        "card": queried(CARD),
        "state_under_load": queried(STATE),
    }
