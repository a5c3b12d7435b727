"""The bytes that a real call moves through memory, by operator and module: a definition, applied to what runs.

For every operator that is not a view:

- read: the distinct bytes that its tensor inputs address (a dimension of stride 0 once, the same view once);
- written: the bytes of its outputs; an in-place argument is written, and read too unless it is overwritten
  blindly;
- a gather reads what it delivers (a row that it delivers twice, twice) and its indices, not its whole table;
- a scatter overwrites its target blindly: it counts as written, whole, and not as read;
- a grouped GEMM reads the weights of the experts that are hit: `experts_hit`, declared, all when not;
- `empty` and its like move nothing.

An operator is a view exactly when every output lies in the storage of an input and no argument is written to.
Every device counts unless one is named: the index tables that transformers' SAM makes on the CPU are in the
figures. Nothing is said of caches on the chip, nor of an operator's own scratch. Two views of one storage
that overlap without being the same view count twice::

    with torch.no_grad(), FusedAttention(), TrafficMeter(module) as traffic:
        module(x)
    traffic.total.total_bytes, traffic.total.weight_bytes
    traffic.by_operator["aten.addmm.default"].read_bytes
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from modelmeter.errors import ModelMeterError
from modelmeter.reference._dispatch import (
    Instrument,
    Roots,
    Storages,
    enclosing_paths,
    operator_name,
    written_arguments,
)

MOVES_NOTHING = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})
"""aten operators that allocate without writing."""

GATHERS = frozenset({"embedding", "gather", "index", "index_select"})
"""aten operators that read, of their table, as many bytes as they deliver."""

OVERWRITES = frozenset({"copy_", "fill_", "normal_", "uniform_", "zero_"})
"""aten in-place operators that do not look at what they overwrite."""

SCATTERS = frozenset({"index_copy_", "index_put_", "masked_scatter_", "scatter_"})
"""aten operators that put what they bring into a part of their target; the target counts as written, whole."""

GROUPED_PRODUCT = "_grouped_mm"

WEIGHT, ACTIVATION, KV = "weight", "activation", "kv"


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes moved: read + written, and weight + activation + kv, are two splits of one sum."""

    read_bytes: int = 0
    written_bytes: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0
    kv_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Bytes read and written."""
        return self.read_bytes + self.written_bytes

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            read_bytes=self.read_bytes + other.read_bytes,
            written_bytes=self.written_bytes + other.written_bytes,
            weight_bytes=self.weight_bytes + other.weight_bytes,
            activation_bytes=self.activation_bytes + other.activation_bytes,
            kv_bytes=self.kv_bytes + other.kv_bytes,
        )


@dataclass(frozen=True, kw_only=True)
class OperatorTraffic:
    """One operator that ran, and what it moved."""

    operator: str
    """Its name, such as "aten.addmm.default"."""
    path: str
    """Dotted path of the module in which it ran."""
    run: int
    """Which run of the outermost submodule that was: see `Instrument.run`."""
    traffic: Traffic


@dataclass(frozen=True, kw_only=True)
class _Movement:
    operator: str
    path: str
    run: int
    read: tuple[tuple[int, int], ...]  # (number of the storage, bytes)
    written: tuple[tuple[int, int], ...]


def addressed_bytes(tensor: Tensor) -> int:
    """Distinct bytes that a strided tensor addresses: a dimension of stride 0 counts once."""
    dims = [(size, stride) for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    span = 1 + sum((size - 1) * stride for size, stride in dims)
    elems = min(prod(size for size, _ in dims), span) if tensor.numel() else 0
    return int(elems * tensor.element_size())


def _view_key(number: int, tensor: Tensor) -> tuple[object, ...]:
    dims = zip(tensor.shape, tensor.stride(), strict=True)
    walked = tuple((size, stride) for size, stride in dims if size != 1 and stride)
    return number, tensor.storage_offset(), walked, tensor.dtype


class TrafficMeter(Instrument):
    """A mode that notes, for every operator, the bytes it reads and writes (on `device` alone, where one is
    named).

    Weights are the parameters and buffers of `roots`; `kv` are the tensors of a cache that the call is given.
    The cache that it makes is known at its end only: hand it to `mark_kv` then. The rest are activations.
    `experts_hit`: how many experts a grouped GEMM reads, all of them when None.
    """

    def __init__(
        self,
        roots: Roots = None,
        *,
        kv: Sequence[Tensor] = (),
        experts_hit: int | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(roots, device)
        self._experts_hit = experts_hit
        self._storages = Storages()
        self._kinds: dict[int, str] = {}
        self._movements: list[_Movement] = []
        for module in self._modules.values():
            self._mark([*module.parameters(recurse=False), *module.buffers(recurse=False)], WEIGHT)
        self._mark(kv, KV)

    def _mark(self, marked: Iterable[Tensor], kind: str) -> None:
        for tensor in self.on_device(list(marked)):
            self._kinds[self._storages.meet(tensor)[0]] = kind

    def mark_kv(self, cache: Iterable[Tensor]) -> None:
        """Count all that was and will be moved to and from these (still living) tensors as KV cache."""
        self._mark(cache, KV)

    def _number(self, tensor: Tensor) -> int:
        return self._storages.meet(tensor)[0]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = self.on_device((args, kwargs))
        input_numbers = {self._number(tensor) for tensor in inputs}
        written = self.on_device(written_arguments(func, args, kwargs))
        result = func(*args, **kwargs)
        outputs = self.on_device(result)
        name = func._schema.name.partition("::")[2].partition(".")[0]
        made = [tensor for tensor in outputs if self._number(tensor) not in input_numbers]
        is_view = bool(outputs) and not made and not written
        if not is_view and name not in MOVES_NOTHING:
            self._note(func, name, args, kwargs, inputs, written, made)
        return result

    def _note(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Tensor],
        written: list[Tensor],
        made: list[Tensor],
    ) -> None:
        out_arguments = {id(kwargs[a.name]) for a in func._schema.arguments if a.is_out and a.name in kwargs}
        accumulates = name == "index_put_" and (args[3:] == (True,) or kwargs.get("accumulate", False))
        blind = name in OVERWRITES or (name in SCATTERS and not accumulates)
        unread = {id(tensor) for tensor in written if blind or id(tensor) in out_arguments}
        read: list[tuple[int, int]] = []
        seen: set[object] = set()
        for tensor in inputs:
            number = self._number(tensor)
            key = _view_key(number, tensor)
            if id(tensor) in unread or key in seen:
                continue
            seen.add(key)
            size_bytes = addressed_bytes(tensor)
            if name in GATHERS and tensor is args[0]:
                size_bytes = sum(out.numel() for out in made) * tensor.element_size()
            elif name == GROUPED_PRODUCT and tensor is args[1]:
                size_bytes = self._experts_bytes(tensor)
            read.append((number, size_bytes))
        wrote = [(self._number(tensor), addressed_bytes(tensor)) for tensor in (*made, *written)]
        self._movements.append(
            _Movement(
                operator=operator_name(func), path=self.path, run=self.run, read=tuple(read), written=tuple(wrote)
            )
        )

    def _experts_bytes(self, weights: Tensor) -> int:
        n_experts = int(weights.shape[0])
        hit = n_experts if self._experts_hit is None else self._experts_hit
        if not 0 < hit <= n_experts:
            raise ModelMeterError(f"TrafficMeter: experts_hit={hit}; expected 1 to {n_experts}.")
        return addressed_bytes(weights) // n_experts * hit

    def _traffic(self, movement: _Movement) -> Traffic:
        by_kind = {WEIGHT: 0, ACTIVATION: 0, KV: 0}
        for number, size_bytes in (*movement.read, *movement.written):
            by_kind[self._kinds.get(number, ACTIVATION)] += size_bytes
        return Traffic(
            read_bytes=sum(size_bytes for _, size_bytes in movement.read),
            written_bytes=sum(size_bytes for _, size_bytes in movement.written),
            weight_bytes=by_kind[WEIGHT],
            activation_bytes=by_kind[ACTIVATION],
            kv_bytes=by_kind[KV],
        )

    @property
    def operators(self) -> list[OperatorTraffic]:
        """Every operator that is not a view (and not an `empty`), in the order in which they ran."""
        return [
            OperatorTraffic(operator=m.operator, path=m.path, run=m.run, traffic=self._traffic(m))
            for m in self._movements
        ]

    def read_of(self, weights: Iterable[Tensor]) -> list[Tensor]:
        """Those of `weights`, on the measured device, that some operator read."""
        read = {number for movement in self._movements for number, _ in movement.read}
        return [tensor for tensor in self.on_device(list(weights)) if self._number(tensor) in read]

    def _summed(self, keys: Callable[[OperatorTraffic], Iterable[str]]) -> dict[str, Traffic]:
        sums: dict[str, Traffic] = {}
        for row in self.operators:
            for key in keys(row):
                sums[key] = sums.get(key, Traffic()) + row.traffic
        return sums

    @property
    def total(self) -> Traffic:
        """What the whole call moved."""
        return sum((row.traffic for row in self.operators), Traffic())

    @property
    def by_operator(self) -> dict[str, Traffic]:
        """What each operator moved, by its name."""
        return self._summed(lambda row: [row.operator])

    @property
    def by_module(self) -> dict[str, Traffic]:
        """What moved in each module, by dotted path, submodules included; "" is the whole."""
        return {path: Traffic() for path in ["", *self.known_paths]} | self._summed(
            lambda row: enclosing_paths(row.path)
        )
