"""The code that layers are walked as: an execution, which is a set of facts; the kind of attention; the types.

A layer is given a `Code`, resolved once, and hands it to the layers inside it. What code bases do differently is stated
as records of traits, each beside the layers that read it; an execution of a model is its name and those records of it
that differ from the defaults, which are what transformers' modules do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, TypedDict, TypeVar

from modelmeter.errors import ModelMeterError, near
from modelmeter.layers.parallel import Parallel, ParallelTraits
from modelmeter.layers.quantisation import Scheme, with_more_bits
from modelmeter.units import check_model_dtype

ATTENTIONS: Final = ("flash", "eager")

Traits = TypeVar("Traits")


@dataclass(frozen=True, kw_only=True)
class EngineTraits:
    """What code does in all of its layers where code bases differ; the defaults are transformers'."""

    chains_fused: bool = False
    """Chains of operators without a GEMM run as one kernel; otherwise operator by operator."""
    own_kernels: frozenset[str] = frozenset()
    """The chains that are one kernel each, by name, in code that otherwise runs them operator by operator."""
    add_norm_fused: bool = False
    """A block hands its last output and the residual on, and whoever comes next sums them; otherwise it sums them."""
    attention_fused_only: bool = False
    """Attention is one kernel that reads keys, values and bias where they lie and writes its result alone; there is no
    eager form. Otherwise it is PyTorch's function."""
    vision_takes_eager: bool = True
    """`attention=eager` reaches the vision encoders too; otherwise they always call the fused function."""
    graphed: frozenset[str] = frozenset()
    """Stages whose kernels are launched as one CUDA graph; otherwise the host launches each."""
    at_its_best: bool = False
    """No code runs all of this: it is the least that an engine could do, and a bound."""


@dataclass(frozen=True)
class Execution:
    """A code base: its name, and records of traits, one of a kind.

    of_vision: the records that are others where the code of the vision encoders differs from the rest's, as an engine
    compiles its decoder and not those.
    """

    name: str
    facts: tuple[object, ...] = ()
    of_vision: tuple[object, ...] = ()
    _by_kind: Mapping[type, object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_kind", {type(each): each for each in self.facts})

    def traits(self, kind: type[Traits]) -> Traits:
        """The record of this kind, or its defaults."""
        known = self._by_kind.get(kind)
        return known if isinstance(known, kind) else _defaults(kind)

    def vision(self) -> Execution:
        """The execution of the vision encoders."""
        if not self.of_vision:
            return self
        others = {type(each) for each in self.of_vision}
        return Execution(self.name, (*(each for each in self.facts if type(each) not in others), *self.of_vision))


@dataclass(frozen=True)
class Precision:
    """Types of what is in memory, by what it is.

    scheme: packs weights; what it leaves is of the type `weights`. packs: of which layers, so far as they are of one
    that it packs: all alike, or those with more bits; None: of none. experts: that are one parameter, too.
    """

    weights: str = "bfloat16"
    activations: str = "bfloat16"
    kv: str = "bfloat16"
    scheme: Scheme | None = None
    packs: str | None = None
    experts: bool = True

    @classmethod
    def of(cls, dtype: str) -> Precision:
        """All of one type."""
        return cls(dtype, dtype, dtype)

    def in_layer(self, layer: int, layers: int) -> Precision:
        """That of one of a decoder's layers."""
        if self.scheme is None:
            return self
        more = self.scheme.more is not None and with_more_bits(layer, layers)
        return replace(self, packs=MORE_BITS if more else ALIKE)


#: layers whose matrices a scheme packs, and those of them in which some get more bits
ALIKE: Final = "alike"
MORE_BITS: Final = "more bits"


#: the executions of a layer that is of no model: transformers' modules
LIBRARY: Final[Mapping[str, Execution]] = MappingProxyType({"transformers": Execution("transformers")})


class Settings(TypedDict, total=False):
    """What every layer takes as keywords: the code, resolved; or what it is resolved from."""

    code: Code
    execution: str
    attention: str
    dtype: str


@dataclass(frozen=True)
class Code:
    """What all layers of a model have in common, resolved once. attention: "flash" (fused) or "eager"."""

    execution: Execution = LIBRARY["transformers"]
    attention: str = "flash"
    precision: Precision = Precision()
    parallel: Parallel = Parallel()  # noqa: RUF009 (frozen)

    def vision(self) -> Code:
        """What the layers of vision encoders are walked as; no scheme packs them, and not all code splits them."""
        return replace(
            self,
            execution=self.execution.vision(),
            precision=replace(self.precision, scheme=None),
            parallel=self.parallel.of_vision(self.execution.traits(ParallelTraits)),
        )

    def in_layer(self, layer: int, layers: int) -> Code:
        """What one of a decoder's layers is walked as; equal where layers are alike."""
        precision = self.precision.in_layer(layer, layers)
        return self if precision is self.precision else replace(self, precision=precision)

    @classmethod
    def resolve(cls, who: str, executions: Mapping[str, Execution], settings: Settings) -> Code:
        """The code that a layer's keywords name; raises `ModelMeterError` for what is unknown or does not fit."""
        given = settings.get("code")
        if given is not None:
            return given
        name, attention = settings.get("execution", "transformers"), settings.get("attention", "flash")
        dtype = settings.get("dtype", "bfloat16")
        if name not in executions:
            raise ModelMeterError(f"{who}: execution={name} is unknown; {near(name, executions)}")
        execution = executions[name]
        if attention not in ATTENTIONS:
            raise ModelMeterError(f"{who}: attention={attention} is unknown; {near(attention, ATTENTIONS)}")
        if attention == "eager" and execution.traits(EngineTraits).attention_fused_only:
            eager = [each.name for each in executions.values() if not each.traits(EngineTraits).attention_fused_only]
            raise ModelMeterError(
                f"{who}: attention=eager, but execution={execution.name} has fused attention only; leave "
                f"runtime.attention=flash, or take {' or '.join(f'execution={each}' for each in eager)}."
            )
        check_model_dtype(who, dtype)
        return cls(execution, attention, Precision.of(dtype))


_DEFAULTS: Final[dict[type, object]] = {}


def _defaults(kind: type[Traits]) -> Traits:
    """A record of traits as transformers has them, made once."""
    if kind not in _DEFAULTS:
        _DEFAULTS[kind] = kind()
    return _DEFAULTS[kind]  # type: ignore[return-value]
