"""The live set of a real call: how many bytes of its tensors exist at once, when most, and whose they are.

A storage counts from the operator that made it to its death, in whole bytes of what was asked for. What the
call did not make (parameters, buffers, inputs) never counts. Two figures come from one instrument:

- `LiveSet(module)`: what the call makes, its own KV cache included (`activation_peak_bytes`);
- `LiveSet(module, given=cache_tensors)`: these live from the start and die as their owner drops them
  (`resident_peak_bytes`).

Not seen: scratch inside a kernel, an allocator's rounding and its fragmentation. On real CPU tensors a
convolution may hold a reordered copy of its weights inside the kernel: the allocator's log then shows more
than this::

    with torch.no_grad(), FusedAttention(), LiveSet(module) as live:
        out = module(x)
    live.peak_bytes, live.peak_operator, live.peak_path
    live.alive_at_peak[0]                # the largest: its bytes, shape, dtype, and the operator that made it

Use `no_grad`, not `inference_mode`: under the latter composite operators arrive whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from modelmeter.reference._dispatch import Instrument, Roots, Storages, operator_name

GIVEN = "given"
"""The "operator" of a storage that was handed to the measurement as resident."""


@dataclass(frozen=True, kw_only=True)
class Holding:
    """One storage that was alive, as the operator that made it left it."""

    size_bytes: int
    """Bytes of the storage."""
    shape: tuple[int, ...]
    """Shape of the tensor that it was made as (views of it may have others)."""
    dtype: str
    """Its element type, such as "bfloat16"."""
    operator: str
    """The operator that made it, such as "aten.addmm.default", or "given"."""
    path: str
    """Dotted path of the module in which it was made."""


class LiveSet(Instrument):
    """A mode that follows the bytes alive on one device (`device`: "meta", "cpu", "cuda")."""

    def __init__(self, roots: Roots = None, *, given: Sequence[Tensor] = (), device: str | None = "meta") -> None:
        super().__init__(roots, device)
        self._storages = Storages()
        self._alive: dict[int, Holding] = {}
        self.live_bytes = 0
        """Bytes alive now; after the call, what it left behind."""
        self.peak_bytes = 0
        """The most bytes that were alive after any operator."""
        self.peak_operator = ""
        """The operator after which the peak was first reached, such as "aten.add.Tensor"."""
        self.peak_path = ""
        """Dotted path of the module in which that operator ran."""
        self.peak_run = 0
        """Which run of the outermost submodule that was: see `Instrument.run`."""
        self.series: list[tuple[str, int]] = []
        """Every operator, views included, in order, and the bytes alive after it."""
        self._at_peak: tuple[Holding, ...] = ()
        self.given_bytes = 0
        """Bytes of the storages that were given as resident."""
        for tensor in self.on_device(list(given)):
            self._made(tensor, GIVEN)
        self.given_bytes = self.live_bytes
        self._note_peak(GIVEN)

    @property
    def alive(self) -> list[Holding]:
        """What is alive now, the largest first."""
        return sorted(self._alive.values(), key=lambda holding: -holding.size_bytes)

    @property
    def alive_at_peak(self) -> list[Holding]:
        """What was alive at the peak, the largest first; the sizes sum to `peak_bytes`."""
        return sorted(self._at_peak, key=lambda holding: -holding.size_bytes)

    def _died(self, number: int) -> None:
        holding = self._alive.pop(number, None)
        if holding is not None:
            self.live_bytes -= holding.size_bytes

    def _made(self, tensor: Tensor, operator: str) -> None:
        number, first = self._storages.meet(tensor, self._died)
        size_bytes = tensor.untyped_storage().nbytes()
        if not first:
            known = self._alive.get(number)
            if known is None or known.size_bytes == size_bytes:
                return  # external, or seen before: a view or an in-place result
            self.live_bytes -= known.size_bytes  # resized in place
        self._alive[number] = Holding(
            size_bytes=size_bytes,
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            operator=operator,
            path=self.path,
        )
        self.live_bytes += size_bytes

    def _note_peak(self, operator: str) -> None:
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes = self.live_bytes
            self.peak_operator = operator
            self.peak_path = self.path
            self.peak_run = self.run
            self._at_peak = tuple(self._alive.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in self.on_device((args, kwargs)):
            self._storages.meet(tensor, self._died)  # met first as an input: external, never counted
        result = func(*args, **kwargs)
        for tensor in self.on_device(result):
            self._made(tensor, operator_name(func))
        self._note_peak(operator_name(func))
        self.series.append((operator_name(func), self.live_bytes))
        return result
