"""What a model needs of a device's memory, and what fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from modelmeter.memory import amount, smaller_reserve
from modelmeter.models.common.loading import LOAD
from modelmeter.models.common.stage_cost import StageCost


@dataclass(frozen=True, kw_only=True)
class Vram:
    """Memory needed, bytes. The KV cache is inside `resident_peak_bytes`: adding it would count it twice.

    weight_bytes: all parameters, resident. resident_peak_bytes: the largest of the stages, reached in `stage`, which is
    "prefill", "decode", or "load" where bringing the weights there takes more than any page does.
    reserve_bytes: for the device's context, libraries' workspaces, and an allocator's rounding and fragmentation, none
    of which can be derived from shapes: assumed, `runtime.reserve_bytes`.
    """

    weight_bytes: int
    resident_peak_bytes: int
    reserve_bytes: int
    stage: str

    @classmethod
    def of_stages(cls, stages: Mapping[str, StageCost], *, reserve_bytes: int, load_bytes: int = 0) -> Vram:
        """The need of stages that run one after another, after a load that holds `load_bytes` beside the weights."""
        peaks = {stage: cost.resident_peak_bytes for stage, cost in stages.items()} | {LOAD: load_bytes}
        stage = max(peaks, key=lambda name: peaks[name])
        return cls(
            weight_bytes=max(cost.weight_bytes for cost in stages.values()),
            resident_peak_bytes=peaks[stage],
            reserve_bytes=reserve_bytes,
            stage=stage,
        )

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weight_bytes + self.resident_peak_bytes + self.reserve_bytes

    def with_reserve(self, reserve_bytes: int) -> Vram:
        """The same need with another reserve."""
        return replace(self, reserve_bytes=reserve_bytes)

    def fits(self, memory_bytes: int) -> bool:
        """Whether a device with `memory_bytes` holds it."""
        return self.total_bytes <= memory_bytes

    def smaller_reserve(self, memory_bytes: int) -> str | None:
        """The reserve with which a device with `memory_bytes` holds it, in words, where the reserve alone decides."""
        return smaller_reserve(self.total_bytes, self.reserve_bytes, memory_bytes)

    def to_dict(self) -> dict[str, int | str]:
        """The parts and their sum."""
        return asdict(self) | {"total_bytes": self.total_bytes}

    def describe(self) -> str:
        """The sum in words."""
        return (
            f"{self.total_bytes:,} bytes, {amount(self.total_bytes)}: weights {self.weight_bytes:,}, peak of "
            f"{self.stage} {self.resident_peak_bytes:,}, reserve {self.reserve_bytes:,} (assumed)"
        )
