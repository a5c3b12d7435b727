"""`StageCost`: what one stage of a model computes, moves and holds, as exact integers and in handy units."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from modelmeter.documents import parse_json
from modelmeter.kinds import Kind, Record, Text, Whole
from modelmeter.units import BITS_PER_BYTE, GIGA, TERA
from modelmeter.walk import OperatorRecord, Walk

#: a page's stages, and with what they come to together
STAGES: Final = ("vision", "prefill", "decode")
WITH_TOTAL: Final = (*STAGES, "total")

#: positions of which the head makes logits
HEADS: Final = ("last", "all", "none")

#: the fields that are those of the largest of several stages, each of which has let go of what it held
LARGEST: Final = ("weight_bytes", "resident_peak_bytes", "kv_bytes")

#: the fields that add up
SUMS: Final = (
    "tensor_core_flops",
    "cuda_core_flops",
    "io_weight_bytes",
    "io_activation_bytes",
    "io_kv_bytes",
    "kv_added_bytes",
)


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage. Integers are exact: FLOPs and bytes; the properties give powers of ten.

    tensor_core_flops: GEMMs and attention, a multiply-add is 2. cuda_core_flops: everything else, by convention.
    io_weight_bytes, io_activation_bytes, io_kv_bytes: traffic, read and written. weight_bytes: parameters resident.
    activation_peak_bytes: the live set that the pass makes at its largest, its own KV cache included, the cache that
    it was given excluded. resident_peak_bytes: the same with the given cache while it is alive; weights not included.
    kv_bytes: cache held at the end. kv_added_bytes: cache that this stage added.
    peak_path, peak_operator: the module and the operator that reach the activation peak first.
    """

    tensor_core_flops: int = 0
    cuda_core_flops: int = 0
    io_weight_bytes: int = 0
    io_activation_bytes: int = 0
    io_kv_bytes: int = 0
    weight_bytes: int = 0
    activation_peak_bytes: int = 0
    resident_peak_bytes: int = 0
    kv_bytes: int = 0
    kv_added_bytes: int = 0
    peak_path: str = ""
    peak_operator: str = ""

    @classmethod
    def of_walk(
        cls, walk: Walk, *, weight_bytes: int, kv_bytes: int = 0, kv_added_bytes: int = 0, given_bytes: int = 0
    ) -> StageCost:
        """The cost of one walk over a stage whose parameters take `weight_bytes`, given a cache of `given_bytes`."""
        return replace(
            cls.of_entry(walk),
            weight_bytes=weight_bytes,
            activation_peak_bytes=walk.peak_bytes,
            resident_peak_bytes=given_bytes + walk.resident_peak_bytes,
            kv_bytes=kv_bytes,
            kv_added_bytes=kv_added_bytes,
            peak_path=walk.peak_path,
            peak_operator=walk.peak_operator,
        )

    @classmethod
    def of_entry(cls, entry: Walk | OperatorRecord) -> StageCost:
        """What a part of a walk computes and moves; what it holds depends on its surroundings and stays 0."""
        return cls(
            tensor_core_flops=entry.tensor_core_flops,
            cuda_core_flops=entry.cuda_core_flops,
            io_weight_bytes=entry.weight_bytes,
            io_activation_bytes=entry.bytes_read + entry.bytes_written - entry.weight_bytes - entry.kv_bytes,
            io_kv_bytes=entry.kv_bytes,
        )

    @property
    def io_bytes(self) -> int:
        """Traffic, bytes."""
        return self.io_weight_bytes + self.io_activation_bytes + self.io_kv_bytes

    @property
    def flops_tflops(self) -> float:
        """All FLOPs, 1e12."""
        return (self.tensor_core_flops + self.cuda_core_flops) / TERA

    @property
    def flops_tensor_tflops(self) -> float:
        """Tensor-core FLOPs, 1e12."""
        return self.tensor_core_flops / TERA

    @property
    def flops_cuda_tflops(self) -> float:
        """Vector FLOPs, 1e12."""
        return self.cuda_core_flops / TERA

    @property
    def io_tb(self) -> float:
        """Traffic in terabits, 1e12 bits."""
        return self.io_bytes * BITS_PER_BYTE / TERA

    @property
    def weights_gb(self) -> float:
        """Resident parameters, 1e9 bytes."""
        return self.weight_bytes / GIGA

    @property
    def activations_gb(self) -> float:
        """Activation peak, 1e9 bytes."""
        return self.activation_peak_bytes / GIGA

    @property
    def kv_gb(self) -> float:
        """KV cache held at the end, 1e9 bytes."""
        return self.kv_bytes / GIGA

    @property
    def arithmetic_intensity(self) -> float:
        """FLOPs per byte of traffic; 0 for a stage that moves nothing."""
        return (self.tensor_core_flops + self.cuda_core_flops) / self.io_bytes if self.io_bytes else 0.0

    def __add__(self, later: StageCost) -> StageCost:
        """This stage, then `later`: FLOPs and traffic add, peaks and weights take the larger, KV is the last."""
        peak = self if self.activation_peak_bytes >= later.activation_peak_bytes else later
        return StageCost(
            tensor_core_flops=self.tensor_core_flops + later.tensor_core_flops,
            cuda_core_flops=self.cuda_core_flops + later.cuda_core_flops,
            io_weight_bytes=self.io_weight_bytes + later.io_weight_bytes,
            io_activation_bytes=self.io_activation_bytes + later.io_activation_bytes,
            io_kv_bytes=self.io_kv_bytes + later.io_kv_bytes,
            weight_bytes=max(self.weight_bytes, later.weight_bytes),
            activation_peak_bytes=peak.activation_peak_bytes,
            resident_peak_bytes=max(self.resident_peak_bytes, later.resident_peak_bytes),
            kv_bytes=later.kv_bytes,
            kv_added_bytes=self.kv_added_bytes + later.kv_added_bytes,
            peak_path=peak.peak_path,
            peak_operator=peak.peak_operator,
        )

    def summed(self, second: StageCost, last: StageCost, steps: int) -> StageCost:
        """`steps` steps from this one on, their sums growing evenly from this to `second`; peaks are the last's."""

        pairs = steps * (steps - 1) // 2

        def total(name: str) -> int:
            first: int = getattr(self, name)
            grown: int = getattr(second, name) - first
            return first * steps + grown * pairs

        summed: dict[str, Any] = {name: total(name) for name in SUMS}
        return replace(last, **summed)

    def as_dict(self) -> dict[str, int | float | str]:
        """The exact integers, and the derived figures after them."""
        derived = (
            "io_bytes",
            "flops_tflops",
            "flops_tensor_tflops",
            "flops_cuda_tflops",
            "io_tb",
            "weights_gb",
            "activations_gb",
            "kv_gb",
            "arithmetic_intensity",
        )
        return asdict(self) | {name: getattr(self, name) for name in derived}

    def to_json(self) -> str:
        """JSON of `as_dict`, integers beyond 2^53 as text, so that no reader loses digits."""
        return json.dumps({name: json_number(value) for name, value in self.as_dict().items()})

    @classmethod
    def from_json(cls, text: str) -> StageCost:
        """The record that `to_json` wrote."""
        names = [field.name for field in fields(cls)]
        kinds: dict[str, Kind[Any]] = {
            name: PATH if name in ("peak_path", "peak_operator") else FIGURE for name in names
        }
        record = Record(kinds, "the JSON", others=True, missing="it was not written by to_json()")
        return cls(**record.read("StageCost: ", parse_json("StageCost: the text", text.encode("utf-8", "replace"))))


def together(stages: Sequence[tuple[StageCost, int]]) -> StageCost:
    """Stages that run one after another, each a number of times, and let go of all that they held.

    FLOPs and traffic are sums; peaks, weights and KV cache those of the largest. Of equal peaks the first is named.
    """
    highest = max((stage for stage, _ in stages), key=lambda stage: stage.activation_peak_bytes, default=StageCost())
    figures: dict[str, Any] = {name: sum(getattr(stage, name) * times for stage, times in stages) for name in SUMS}
    figures |= {name: max((getattr(stage, name) for stage, _ in stages), default=0) for name in LARGEST}
    return replace(highest, **figures)


#: what an exact figure of a stage, and a module's or an operator's name, may be where they are read back
FIGURE: Final = Whole(0, 10**60)
PATH: Final = Text(500)

#: integers up to here survive a reader that holds numbers as 64-bit floats
EXACT_IN_FLOAT = 2**53


def json_number(value: Any) -> Any:
    """`value`, as text if it is an integer that a 64-bit float would round."""
    return str(value) if isinstance(value, int) and abs(value) > EXACT_IN_FLOAT else value
