"""Device memory: what a kind of device leaves free, and amounts in words that tell GB from GiB.

GB are 10**9 bytes, GiB 2**30 and MiB 2**20, here as everywhere. A card that is sold as one of 24 GB reports 24564 MiB:
25.76 GB, or 23.99 GiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelmeter.errors import ModelMeterError, near
from modelmeter.units import GIGA

GIB: Final = 2**30
MIB: Final = 2**20

GPU: Final = "gpu"
CPU: Final = "cpu"

#: memory left free by kind of device, unless `runtime.reserve_bytes` says otherwise. Of a GPU: for its context, the
#: libraries' workspaces, and an allocator's rounding and fragmentation, none of which follows from shapes: assumed, and
#: more than a context takes (0.3 to 0.6 GiB). A CPU has no context, and its kernels take their scratch from the system.
RESERVE_BYTES: Final[Mapping[str, int]] = MappingProxyType({GPU: GIB, CPU: 0})


def reserve_on(kind: str, given: int | None) -> int:
    """Bytes left free on a device of a kind, "gpu" or "cpu": `given`, or what the kind leaves where that is None."""
    if kind not in RESERVE_BYTES:
        raise ModelMeterError(f"memory: device kind {kind} is unknown; {near(kind, RESERVE_BYTES)}")
    return RESERVE_BYTES[kind] if given is None else given


def amount(nbytes: int) -> str:
    """Bytes in GB, and the same in GiB.

    >>> amount(24564 * MIB)
    '25.757 GB (23.99 GiB)'
    """
    return f"{nbytes / GIGA:.3f} GB ({nbytes / GIB:.2f} GiB)"


def smaller_reserve(total_bytes: int, reserve_bytes: int, memory_bytes: int) -> str | None:
    """The way out where nothing but the reserve makes a need of `total_bytes` exceed a device's memory; else None.

    >>> smaller_reserve(1010, 100, 950)
    'the reserve alone decides: it fits with runtime.reserve_bytes=40 or less'
    """
    room = memory_bytes - (total_bytes - reserve_bytes)
    if not 0 <= room < reserve_bytes:
        return None
    return f"the reserve alone decides: it fits with runtime.reserve_bytes={room} or less"
