"""What a model needs of a device's memory, and what fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelmeter.models.common.stage_cost import StageCost

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Vram:
    """Memory needed, bytes. The KV cache is inside `resident_peak_bytes`: adding it would count it twice.

    weight_bytes: all parameters, resident. resident_peak_bytes: the largest of the stages, reached in `stage`.
    reserve_bytes: for the device's context, libraries' workspaces, and an allocator's rounding and fragmentation, none
    of which can be derived from shapes: assumed, `runtime.reserve_bytes`.
    """

    weight_bytes: int
    resident_peak_bytes: int
    reserve_bytes: int
    stage: str

    @classmethod
    def of_stages(cls, stages: Mapping[str, StageCost], *, reserve_bytes: int) -> Vram:
        """The need of stages that run one after another."""
        stage = max(stages, key=lambda name: stages[name].resident_peak_bytes)
        return cls(
            weight_bytes=max(cost.weight_bytes for cost in stages.values()),
            resident_peak_bytes=stages[stage].resident_peak_bytes,
            reserve_bytes=reserve_bytes,
            stage=stage,
        )

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weight_bytes + self.resident_peak_bytes + self.reserve_bytes

    def fits(self, memory_bytes: int) -> bool:
        """Whether a device with `memory_bytes` holds it."""
        return self.total_bytes <= memory_bytes

    def describe(self) -> str:
        """The sum in words."""
        return (
            f"{self.total_bytes:,} bytes ({self.total_bytes / GIB:.2f} GiB): weights {self.weight_bytes:,}, peak of "
            f"{self.stage} {self.resident_peak_bytes:,}, reserve {self.reserve_bytes:,} (assumed)"
        )
