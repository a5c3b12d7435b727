"""What an engine takes of a device and runs at once there: `engine.…` as given, or the engine's own rule.

    >>> limits_of(cost_model, load_device("H100-SXM")).max_num_seqs  # engine=vllm
    1024

Rules that go by the device were read in the engines' code:

- vLLM: `EngineArgs.get_batch_defaults` (vllm/engine/arg_utils.py), of its OpenAI server: 8192 tokens a pass and 1024
  sequences on devices of 70 GiB or more that are no A100, else 2048 and 256.
  It reserves what its profile run holds (`models.common.profile_run`) and `engine.other_bytes`.
- SGLang: `_handle_gpu_memory_settings` and `adjust_mem_fraction_for_vlm` (python/sglang/srt/server_args.py): by the
  memory's MiB, the tokens of a chunk and the largest batch that is captured as a CUDA graph; from these what is left
  free, at least 10 GiB from 60 GiB on; and 0.95 of the rest, since images are encoded beside it.

`transformers` and `published` are no servers, and `best` is no engine: they have no pool, and take what fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from modelmeter.memory import GIB, MIB

if TYPE_CHECKING:
    from modelmeter.devices.device import Device
    from modelmeter.models.common.assumption import Assumption
    from modelmeter.models.common.contract import CostModel
    from modelmeter.models.common.engines import EngineSchema
    from modelmeter.models.common.profile_run import ProfileRun


class DeviceDefaults(NamedTuple):
    """What goes by the device: tokens of a pass, sequences at once, and the share of memory."""

    max_num_batched_tokens: int
    max_num_seqs: int
    utilization: float


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an engine takes of a device and runs at once; None: it sets no such limit.

    utilization: the share of the device's memory for weights, cache and working memory; None: there is no pool.
    reserve_bytes: of it, working memory. seqs_given: whether the user said how many sequences.
    """

    utilization: float | None
    reserve_bytes: int
    block_size: int
    max_num_seqs: int | None
    seqs_given: bool
    max_num_batched_tokens: int | None
    max_model_len: int


class Served(Protocol):
    """A model that an engine serves."""

    @property
    def engine(self) -> EngineSchema:
        """The engine, as configured."""
        ...

    @property
    def max_position_embeddings(self) -> int:
        """Positions that the model has."""
        ...

    def profile_run(self, max_num_batched_tokens: int, max_num_seqs: int, sampler: str) -> ProfileRun:
        """What the engine's profile run holds at these settings."""
        ...


#: memory from which vLLM takes its larger defaults
_VLLM_LARGE: Final = 70 * GIB
#: SGLang's devices: MiB below which they are, tokens of a chunk, the largest batch captured as a graph
_SGLANG: Final = (
    (20 * 1024, 2048, 8),
    (35 * 1024, 2048, 24),
    (60 * 1024, 4096, 32),
    (160 * 1024, 8192, 256),
    (1 << 60, 16384, 512),
)
#: MiB from which SGLang leaves at least `_SGLANG_LEFT` MiB
_SGLANG_LARGE: Final = 60 * 1024
_SGLANG_LEFT: Final = 10 * 1024
#: of the share that is left, for models that read images
_SGLANG_IMAGES: Final = 0.95


def _vllm(device: Device) -> DeviceDefaults:
    large = device.memory_bytes >= _VLLM_LARGE and "a100" not in device.name.lower()
    return DeviceDefaults(8192, 1024, 0.9) if large else DeviceDefaults(2048, 256, 0.9)


def _sglang(device: Device) -> DeviceDefaults:
    memory = device.memory_bytes / MIB
    _, chunk, batch = next(each for each in _SGLANG if memory < each[0])
    left = 512 + 1.5 * max(chunk, 2048) + 2 * batch + 1024 / 8
    if memory > _SGLANG_LARGE:
        left = max(left, _SGLANG_LEFT)
    return DeviceDefaults(chunk, batch, round((memory - left) / memory, 3) * _SGLANG_IMAGES)


_BY_DEVICE: Final = {"vllm": _vllm, "sglang": _sglang}


def limits_of(model: Served, device: Device) -> Limits:
    """The limits of a model's engine on a device."""
    engine = model.engine
    rule = _BY_DEVICE.get(engine.name)
    sizes = None if rule is None else rule(device)
    max_num_seqs = engine.max_num_seqs or (sizes and sizes.max_num_seqs)
    max_num_batched_tokens = engine.max_num_batched_tokens or (sizes and sizes.max_num_batched_tokens)
    run = None
    if engine.sampler is not None and max_num_seqs is not None and max_num_batched_tokens is not None:
        run = model.profile_run(max_num_batched_tokens, max_num_seqs, engine.sampler)
    return Limits(
        utilization=engine.gpu_memory_utilization or (sizes and sizes.utilization),
        reserve_bytes=reserve_bytes(engine, run),
        block_size=engine.block_size or 1,
        max_num_seqs=max_num_seqs,
        seqs_given=engine.max_num_seqs is not None,
        max_num_batched_tokens=max_num_batched_tokens,
        max_model_len=min(engine.max_model_len or model.max_position_embeddings, model.max_position_embeddings),
    )


def reserve_bytes(engine: EngineSchema, run: ProfileRun | None) -> int:
    """What an engine keeps of its share for all that is neither weights nor cache. run: what it profiled, if it did."""
    if engine.reserve_bytes is not None:
        return engine.reserve_bytes
    return 0 if run is None else run.peak_bytes + (engine.other_bytes or 0)


#: what an engine with a memory policy of its own decides in place of `runtime`: told with its limits
_RESERVE: Final = "reserve_bytes"


PACKED_KERNELS: Final = (
    "kernels over packed weights, or a cache of fewer bits, by factors beside the device's constants of bfloat16: "
    "fitted where published tables have the type on that device, else carried from those that have it, or from a type "
    "alike (GGUF and nf4 from int4, mxfp4 from nvfp4); reports/timing/packed.md has their errors, and so has the "
    "interval"
)


def timed_assumptions(model: CostModel) -> list[Assumption]:
    """What is assumed where a model is timed: of the experts that times count, and without what the engine decides."""
    pooled = model.engine.gpu_memory_utilization is not None
    kept = [each for each in model.for_times().assumptions() if not (pooled and each.figure == _RESERVE)]
    from modelmeter.models.common.assumption import Assumption
    from modelmeter.models.common.precision import PrecisionSchema

    if model.config.precision == PrecisionSchema():
        return kept
    return [*kept, Assumption(figure="seconds", label="packed kernels", text=PACKED_KERNELS)]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The cache that an engine allocates once: its tokens, of which each holds `token_bytes`, in whole blocks."""

    token_bytes: int
    block_size: int
    tokens: int

    @classmethod
    def of(cls, limits: Limits, memory_bytes: int, weight_bytes: int, token_bytes: int) -> Pool:
        """What is left of a device's memory for the cache."""
        left = floor((limits.utilization or 1) * memory_bytes) - weight_bytes - limits.reserve_bytes
        blocks = max(left, 0) // (token_bytes * limits.block_size)
        return cls(token_bytes=token_bytes, block_size=limits.block_size, tokens=blocks * limits.block_size)

    def page_tokens(self, cache_bytes: int) -> int:
        """Tokens that a page's cache takes of it: whole blocks."""
        block_bytes = self.token_bytes * self.block_size
        return -(-cache_bytes // block_bytes) * self.block_size
