"""The group `precision`: the scheme that packs a model's weights, and the type of its KV cache.

`runtime.dtype` is the type of all that is not packed: activations, what a scheme leaves as it is, and the KV cache but
for `precision.kv`. The schemes are stated in `layers.quantisation`.

    precision=awq                      the decoder's matrices as int4 in groups of 128, all else as runtime.dtype says
    precision=fp8_channel precision.kv=fp8
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from modelmeter.errors import ModelMeterError, near
from modelmeter.kinds import Choice, Kind, Maybe, Said
from modelmeter.layers import BaseLayer, Execution
from modelmeter.layers.code import Precision
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.layers.quantisation import SCHEMES, Scheme
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.loading import DIRECT

PRECISION: Final = "precision"

#: no scheme: weights are of the type `runtime.dtype`
UNQUANTISED: Final = "unquantised"
PRECISIONS: Final = (UNQUANTISED, *SCHEMES)

#: types of the KV cache beside that of `runtime.dtype`, by what they are called
FP8: Final = "fp8"
_KV: Final[Mapping[str, str]] = MappingProxyType({FP8: "float8_e4m3fn"})

#: what people call the types that are `runtime.dtype`'s
_DTYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("bf16", "bfloat16"), "bfloat16"),
        **dict.fromkeys(("fp16", "float16", "half"), "float16"),
        **dict.fromkeys(("fp32", "float32", "full"), "float32"),
    }
)


@dataclass
class PrecisionSchema:
    """The group `precision`. kv: None: the KV cache is of the type `runtime.dtype`."""

    name: str = UNQUANTISED
    kv: str | None = None


PRECISION_KINDS: Final[Mapping[str, Kind[Any]]] = MappingProxyType(
    {
        "precision.name": Said(Choice(PRECISIONS), "scheme that packs weights; chosen by precision=NAME"),
        "precision.kv": Said(
            Maybe(Choice(tuple(_KV))), "type of the KV cache, of an engine that pages it; null: that of runtime.dtype"
        ),
    }
)


def no_such_precision(name: str) -> str:
    """The end of an error about a precision that does not exist."""
    dtype = _DTYPES.get(name.lower())
    if dtype is not None:
        return f"weights that no scheme packs are of the type runtime.dtype={dtype}"
    return near(name, PRECISIONS)


def precision_of(
    config: PrecisionSchema, dtype: str, load: str, execution: Execution, executions: Mapping[str, Execution]
) -> Precision:
    """The types that the groups `precision` and `runtime` say.

    Raises `ModelMeterError` for a scheme or a cache that the execution has no kernels for.
    """
    precision = Precision.of(dtype)
    scheme = SCHEMES.get(config.name)
    if scheme is not None:
        _check_scheme(scheme, dtype, load, execution, executions)
    if config.kv is not None and not execution.traits(DecoderTraits).kv_paged:
        paged = [each.name for each in executions.values() if each.traits(DecoderTraits).kv_paged]
        raise ModelMeterError(
            f"precision: kv={config.kv}, but execution={execution.name} keeps keys and values as it makes them; take "
            f"{_choices(paged)}, or leave precision.kv out."
        )
    kv = precision.kv if config.kv is None else _KV[config.kv]
    experts = scheme is None or execution.name in scheme.experts_in
    return replace(precision, kv=kv, scheme=scheme, experts=experts)


def _check_scheme(
    scheme: Scheme, dtype: str, load: str, execution: Execution, executions: Mapping[str, Execution]
) -> None:
    if execution.name not in scheme.executions:
        able = [name for name in executions if name in scheme.executions]
        way = f"take {_choices(able)}" if able else "no execution of this model has any"
        raise ModelMeterError(f"precision: {scheme.name}, but execution={execution.name} has no kernels for it; {way}.")
    if dtype == "float32":
        raise ModelMeterError(
            f"precision: {scheme.name} with runtime.dtype=float32, but its kernels take and give 16 bits; set "
            "runtime.dtype=bfloat16 or float16."
        )
    if load != DIRECT:
        raise ModelMeterError(
            f"precision: {scheme.name} with runtime.load={load}, but packed weights arrive as they lie; leave "
            f"runtime.load={DIRECT}."
        )


def _choices(executions: list[str]) -> str:
    return " or ".join(f"execution={name}" for name in executions)


def precision_assumptions(precision: Precision, model: BaseLayer) -> tuple[Assumption, ...]:
    """What results of packed weights, and of a cache of another type, rest on."""
    scheme = precision.scheme
    stated: tuple[Assumption, ...] = ()
    if scheme is not None:
        text = (
            f"{scheme.title}: the decoder's matrices; vision, norms, routers"
            + (" are" if scheme.embedding is not None else ", embedding and head are")
            + f" {precision.weights}, as published checkpoints of the scheme have them"
        )
        left = left_unpacked(model)
        if left:
            text += f"; its groups do not divide the columns of {', '.join(left)}, which stay {precision.weights}"
        stated = (Assumption(figure="weight_bytes", label=scheme.name, text=text),)
    if precision.kv != precision.activations:
        text = f"keys and values are kept as {precision.kv}; their scales, one a layer, are not counted"
        stated += (Assumption(figure="kv_bytes", label=f"precision.kv={FP8}", text=text),)
    return stated


def left_unpacked(model: BaseLayer) -> list[str]:
    """Weights of the decoder, by path, that the scheme would pack and the columns do not let it."""
    return [
        name.removesuffix(".weight")
        for name, parameter in model.named_parameters()
        if parameter.packed is not None
        and any(piece.packing is None and name.startswith("layers.") for piece in parameter.packed.pieces)
    ]
