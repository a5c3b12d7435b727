"""The file of laws: models as engines run them, their laws, what times need of devices, and conformance vectors.

docs/laws-format.md describes what is written here, key by key; `FORMAT_VERSION` is raised when a reader of an older
file would misread a newer one.

    >>> file = LawsFile([load_device("H100-SXM")])
    >>> file.add(load_cost_model(["engine=vllm"]))
    >>> file.to_dict()["models"][0]["engine"]
    'vllm'
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from modelmeter.devices import kernel_time
from modelmeter.devices.device import PEAK_OF_DTYPE, Device
from modelmeter.devices.engine import limits_of, timed_assumptions
from modelmeter.devices.stage_time import HOSTS_DIFFER, OPERATOR_S, PASS_ERROR
from modelmeter.errors import ModelMeterError
from modelmeter.kernel_classes import COLLECTIVES
from modelmeter.laws.law_set import Family, LawSet, layouts_of, written_figures
from modelmeter.laws.tables import Shared, Tables
from modelmeter.memory import RESERVE_BYTES, reserve_on
from modelmeter.models.common.image_rule import RuledWorkload, no_rule
from modelmeter.models.common.precision import PrecisionSchema
from modelmeter.sizes import Variables

if TYPE_CHECKING:
    from modelmeter.models.common.contract import CostModel

FORMAT: Final = "modelmeter laws"
FORMAT_VERSION: Final = 2

#: groups of the configuration that no walk depends on, beside what the workload's geometry says of it
_NOT_WALKED: Final = ("checkpoint", "workload", "engine", "host", "client")

#: what the formulas of kernels' times have in common on all devices
CONSTANTS: Final[Mapping[str, Any]] = {
    "operator_s": OPERATOR_S,
    "hosts_differ": HOSTS_DIFFER,
    "pass_error": PASS_ERROR,
    "tiles": list(kernel_time.TILES),
    "largest_tile": list(kernel_time.LARGEST_TILE),
    "few_rows_tiles": [list(tile) for tile in kernel_time.FEW_ROWS_TILES],
    "splits": list(kernel_time.SPLITS),
    "fewest_rows": kernel_time.FEWEST_ROWS,
    "held": kernel_time.HELD,
    "aligned_width": kernel_time.ALIGNED_WIDTH,
    "aligned_channels": kernel_time.ALIGNED_CHANNELS,
    "split_keys": kernel_time.SPLIT_KEYS,
    "head_widths": list(kernel_time.HEAD_WIDTHS),
    "peak_of_dtype": dict(PEAK_OF_DTYPE),
}


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A model of the file, and by which laws it goes."""

    cost_model: CostModel
    laws: Hashable


class LawsFile:
    """A file in the making.

    batches: pages of a prefill at once that it has laws for. vision_times: whether it has the kernels of vision alone.
    """

    def __init__(
        self, devices: Sequence[Device] = (), *, batches: Sequence[int] = (1,), vision_times: bool = True
    ) -> None:
        self.devices = tuple(devices)
        self.batches = tuple(sorted({1, *batches}))
        self.vision_times = vision_times
        self._entries: list[_Entry] = []

    def add(self, cost_model: CostModel) -> None:
        """A model of one page at a time. Raises `ModelMeterError` for what has no form as data."""
        workload = cost_model.workload
        examples = workload.examples()
        if not isinstance(workload, RuledWorkload):
            raise ModelMeterError(no_rule(type(workload)))
        precision = cost_model.config.precision
        if precision != PrecisionSchema():
            raise ModelMeterError(
                f"laws: precision={precision.name}, precision.kv={precision.kv}: the file's formulas say nothing of "
                "kernels over packed weights or a cache of another type; leave both out."
            )
        if cost_model.batch_size != 1:
            raise ModelMeterError(
                f"laws: runtime.batch_size={cost_model.batch_size}; pages at once are a variable of the laws, so leave "
                "it out, and say with --batch for which numbers prefills are wanted."
            )
        if cost_model.devices > 1:
            raise ModelMeterError(
                f"laws: parallel.tensor={cost_model.devices}: the file's formulas say nothing of collectives over a "
                "link; leave it out."
            )
        cost_model.request.check_one_page("laws")
        if cost_model.request.hit_share:
            raise ModelMeterError(
                "laws: runtime.prefix_cached is a mean of times, which the file's formulas do not take; leave it out."
            )
        if cost_model.page_passes(examples[0]):
            raise ModelMeterError("laws: workload.regions makes several passes of a page; leave it out.")
        if cost_model.config.runtime.draft != "none":
            raise ModelMeterError(
                f"laws: runtime.draft={cost_model.config.runtime.draft}: steps that check drafts have no form as data; "
                "leave it out."
            )
        self._entries.append(_Entry(cost_model=cost_model, laws=_walked_as(cost_model)))

    def to_dict(self) -> dict[str, Any]:
        """The content, but for the vectors: tables, laws, models, devices, constants."""
        tables = Tables()
        laws: dict[Hashable, dict[str, Any]] = {}
        for key in dict.fromkeys(entry.laws for entry in self._entries):
            sharing = [entry.cost_model for entry in self._entries if entry.laws == key]
            layouts = dict.fromkeys(layout for each in sharing for layout in layouts_of(each.workload))
            made = LawSet(sharing[0], list(layouts), self.batches, vision_times=self.vision_times)
            laws[key] = _laws(made, tables)
        places = {key: place for place, key in enumerate(laws)}
        shared = {"limits": Shared(), "assumptions": Shared()}
        models = [self._model(entry, places[entry.laws], tables, **shared) for entry in self._entries]
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "batches": list(self.batches),
            **tables.to_dict(),
            "laws": list(laws.values()),
            "models": models,
            **{name: each.entries for name, each in shared.items()},
            "devices": {device.name: _device(device) for device in self.devices},
            "constants": dict(CONSTANTS),
        }

    def _model(
        self, entry: _Entry, laws: int, tables: Tables, *, limits: Shared, assumptions: Shared
    ) -> dict[str, Any]:
        model = entry.cost_model
        rule, counted = model.workload.image_rule(), model.assumptions()
        kinds = [
            {
                "name": each.name,
                "conditions": [tables.written_condition(*condition) for condition in each.conditions],
                "variables": {name: tables.polynomial(written) for name, written in each.variables.items()},
                "markers": tables.polynomial(each.markers if model.config.runtime.prompt_tokens is None else "0"),
            }
            for each in rule.kinds
        ]
        tokens = LawSet(model, layouts_of(model.workload), (1,), vision_times=False).tokens()
        return {
            "model": model.name,
            "checkpoint": model.config.checkpoint.name,
            "mode": _mode(model),
            "engine": model.engine.name,
            "settings": dict(model.settings()),
            "image": {
                "steps": [dict(step) for step in rule.steps],
                "kinds": kinds,
                "tokens": [
                    _family(each, tables, lambda payload: {"image_tokens": tables.polynomial(payload)})
                    for each in tokens
                ],
            },
            "prompt_tokens": model.text_len(model.prompt_tokens),
            "max_position_embeddings": model.max_position_embeddings,
            "parameters": str(model.parameters),
            "laws": laws,
            "bound": model.bound_alone,
            "graphed": [stage for stage in ("prefill", "decode") if model.graphed(stage)],
            "host": asdict(model.host),
            "limits": limits.place({device.name: asdict(limits_of(model, device)) for device in self.devices}),
            "reserve_bytes": {kind: reserve_on(kind, model.reserve_bytes) for kind in RESERVE_BYTES},
            "load_bytes": str(model.load_bytes),
            "assumptions": [assumptions.place(asdict(each)) for each in counted],
            "timed_assumptions": [
                assumptions.place(asdict(each)) for each in timed_assumptions(model) if each not in counted
            ],
        }


def _mode(model: CostModel) -> str | None:
    """The mode that its workload is, as it stands or with the limits of the engine's processor; None: another one."""
    for name, workload in model.modes.items():
        if model.workload in (workload, replace(workload, **model.engine_workload())):
            return name
    return None


def _walked_as(cost_model: CostModel) -> Hashable:
    """What a model's walks depend on: equal where laws are."""
    config = {name: value for name, value in asdict(cost_model.config).items() if name not in _NOT_WALKED}
    workload = cost_model.workload
    kinds: dict[Hashable, str] = {}
    for layout in workload.examples():
        names = workload.sizes(layout)
        variables = Variables(**dict.fromkeys(names, 7))
        varied = workload.with_sizes(layout, {name: variables.size(name) for name in names})
        kinds.setdefault(workload.kind(layout), repr(workload.geometry(varied, 1)))
    return cost_model.name, json.dumps(config, sort_keys=True, default=str), tuple(kinds.items())


def _laws(made: LawSet, tables: Tables) -> dict[str, Any]:
    """All families of a set, and which are left out, since they would be too many laws."""

    def kernels(payload: Sequence[tuple[str, str, Mapping[str, str], str]]) -> dict[str, Any]:
        return {
            "kernels": [
                [tables.kernel(kernel_class, dtype, sizes), tables.polynomial(count)]
                for kernel_class, dtype, sizes, count in payload
            ]
        }

    figures, timed = made.figures(), made.kernels() if made.timed else []
    left_out = [each for each in (*figures, *timed) if each.cases is None]
    return {
        "model": made.model.name,
        "execution": made.model.config.execution.name,
        "by_context": made.model.steps_by_context,
        "experts": made.experts(),
        "timed": made.timed,
        "figures": [_family(each, tables, lambda payload: written_figures(payload, tables)) for each in figures],
        "kernels": [_family(each, tables, kernels) for each in timed],
        "left_out": [[each.stage, each.kind, list(each.variables)] for each in left_out],
    }


def _family(family: Family, tables: Tables, written: Any) -> dict[str, Any]:
    return {
        "stage": family.stage,
        "kind": family.kind,
        "variables": list(family.variables),
        "cases": [
            {"conditions": [tables.condition(each) for each in case.conditions], **written(case.payload)}
            for case in family.cases or ()
        ],
    }


def _device(device: Device) -> dict[str, Any]:
    """What times and memory need of a device."""
    return {
        "title": device.title,
        "kind": device.kind,
        "memory_bytes": str(device.memory_bytes),
        "price_per_hour": None if device.price_per_hour is None else float(device.price_per_hour),
        "peaks": {name: float(rate) for name, rate in device.matmul_flops_per_s.items()},
        "vector": float(device.vector_flops_per_s),
        "bandwidth": float(device.memory_bandwidth_bytes_per_s),
        "processors": device.multiprocessors or 0,
        "l2_bytes": device.l2_bytes or 0,
        "kernels": {
            name: {
                "values": dict(each.values),
                "origin": each.origin,
                "median": None if each.errors is None else each.errors.median,
                "p90": None if each.errors is None else each.errors.p90,
            }
            for name, each in device.kernels.items()
            if name not in COLLECTIVES  # laws are those of one device
        },
        "bound": {
            "peaks": {name: float(device.matmul_rate(name)) for name in device.matmul_flops_per_s},
            "vector": float(device.vector_rate),
            "bandwidth": float(device.bandwidth),
            "launch_s": float(device.kernel_launch_s or 0),
        },
    }
