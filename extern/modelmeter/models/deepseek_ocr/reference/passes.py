"""One page's pass and one decode step through the reference, as torchinfo and the FLOP counter see them.

A pass is named by what runs: "vision.global" and "vision.crops" (tower and projector over the global view, then over
the crops), "prefill" (everything else of the page's pass) and "decode" (one step over the cache that the page left).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torchinfo
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.configuration import RuntimeSchema
from modelmeter.models.common.reference.deep_encoder_names import TRANSFORMERS_NAMES
from modelmeter.models.deepseek_ocr.reference.page import PageGeometry, PageReference, values_unchecked
from modelmeter.models.deepseek_ocr.vision_workload import (
    ViewLayout,
    VisionTokens,
    build_vision_cfg_from_workload,
    compute_view_layout,
    compute_vision_tokens,
    workload_for_mode,
)
from modelmeter.reference.flops import FlopCount, measure_flops
from modelmeter.reference.module_calls import ModuleCalls, Shape

MODE: Final = "gundam"
WIDTH: Final = 1275
HEIGHT: Final = 1650
PROMPT_TOKENS: Final = RuntimeSchema().prompt_tokens

PASSES: Final = ("vision.global", "vision.crops", "prefill", "decode")

#: the passes that a stage consists of; prefill includes vision
STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "vision": ("vision.global", "vision.crops"),
    "prefill": ("vision.global", "vision.crops", "prefill"),
    "decode": ("decode",),
}

#: what belongs to vision: parts of the model, and the parameters that it holds itself
TOWER: Final = "model.vision_tower"
VISION: Final = (TOWER, "model.multi_modal_projector", "model.image_newline", "model.view_separator")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a module: its pass, all tensors that it was given and gave, and torchinfo's multiply-adds.

    torchinfo prints those of modules without submodules only: None stands for any other.
    """

    name: str
    inputs: list[Shape]
    outputs: list[Shape]
    mult_adds: int | None


@dataclass(frozen=True, kw_only=True)
class ModuleEntry:
    """One module: its place, its parameters, its runs. `own_parameters` excludes the submodules'."""

    path: str
    published_paths: tuple[str, ...]
    class_name: str
    own_parameters: Mapping[str, Shape]
    parameters_own: int
    parameters_total: int
    runs: tuple[Run, ...]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The page's pass and the decode step: every module, and both instruments' own results."""

    whole: PageReference
    layout: ViewLayout
    tokens: VisionTokens
    modules: tuple[ModuleEntry, ...]
    page_summary: Any
    counts: Mapping[str, FlopCount]
    """FLOPs of the page's pass ("prefill") and of the step ("decode")."""

    @property
    def parameters(self) -> Mapping[str, int]:
        """Elements of every named parameter of the model, each once."""
        return {name: parameter.numel() for name, parameter in self.whole.model.named_parameters()}


class _PassNames:
    """Names the runs of one pass: the tower sees the global view first, then the crops."""

    def __init__(self, first: str) -> None:
        self.first = first
        self.towers = 0

    def __call__(self, path: str) -> str:
        """The pass that the module at `path` begins to run in."""
        if path == TOWER:
            self.towers += 1
        return PASSES[self.towers - 1] if in_vision(path) else self.first


def in_vision(path: str) -> bool:
    """Whether a module or parameter belongs to the vision stage."""
    return any(path == part or path.startswith(f"{part}.") for part in VISION)


def record() -> Recording:
    """Run the snapshot's page, then one decode step, and note every module."""
    workload = workload_for_mode(MODE)
    layout = compute_view_layout(workload, WIDTH, HEIGHT)
    tokens = compute_vision_tokens(workload, layout)
    views = build_vision_cfg_from_workload(workload, layout)
    assert views.crop_branch is not None  # this page has crops
    whole = PageReference()
    page = whole.inputs(
        PageGeometry(
            global_side=views.global_branch.img_size,
            crop_side=views.crop_branch.img_size,
            columns=layout.w_crop,
            rows=layout.h_crop,
            prompt_tokens=PROMPT_TOKENS,
        )
    )
    inputs = {"input_ids": page.token_ids.to("meta"), **page.images}
    cache = DynamicCache(config=whole.config.text_config)
    page_summary, page_runs, page_count = _run(whole.model, "prefill", inputs, cache)
    features = page_runs[""][0].outputs[-1]
    if features[0] != tokens.total:
        raise ModelMeterError(
            f"snapshot: the reference made {features[0]} image features for {tokens.total} placeholders; "
            "compute_vision_tokens and transformers' get_image_features differ."
        )
    _, step_runs, step_count = _run(whole.model, "decode", {"input_ids": page.token_ids[:, :1].to("meta")}, cache)
    published = published_paths()
    modules = tuple(
        _entry(path, module, published.get(_LAYER.sub("N", path), ()), (*page_runs[path], *step_runs[path]))
        for path, module in whole.model.named_modules()
    )
    return Recording(
        whole=whole,
        layout=layout,
        tokens=tokens,
        modules=modules,
        page_summary=page_summary,
        counts={"prefill": page_count, "decode": step_count},
    )


def _run(
    model: nn.Module, name: str, inputs: Mapping[str, Any], cache: object
) -> tuple[Any, Mapping[str, list[Run]], FlopCount]:
    """One pass: torchinfo's summary, the runs of every module, and the FLOPs."""
    # torchinfo would add up the numbers in a list as bytes: it is given the tensors, and the model the rest
    given = {key: value for key, value in inputs.items() if isinstance(value, Tensor)}
    rest = {key: value for key, value in inputs.items() if key not in given}
    summaries: list[Any] = []

    def summarise() -> None:
        summaries.append(
            torchinfo.summary(
                model,
                input_data=given,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                depth=max(path.count(".") + 1 for path, _ in model.named_modules()),
                col_names=("input_size", "output_size", "num_params", "mult_adds"),
                row_settings=("depth", "var_names"),
                verbose=0,
                **rest,
            )
        )

    with values_unchecked(), ModuleCalls(model, _PassNames(name)) as seen:
        count = measure_flops(model, summarise)
    mult_adds: defaultdict[int, list[int | None]] = defaultdict(list)
    for info in summaries[0].summary_list:
        if info.executed:
            mult_adds[info.layer_id].append(info.macs if info.is_leaf_layer else None)
    runs = {
        path: [
            Run(name=call.label, inputs=call.inputs, outputs=call.outputs, mult_adds=products)
            for call, products in zip(seen.by_path[path], mult_adds[id(module)], strict=True)
        ]
        for path, module in model.named_modules()
    }
    return summaries[0], runs, count


_LAYER = re.compile(r"(?<=\blayers\.)\d+")


def published_paths() -> dict[str, tuple[str, ...]]:
    """transformers' path in the whole model -> the published paths whose work that module does; N is a layer's number.

    The projector is one module for two published ones; three modules share the published fused qkv.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for published, paths in TRANSFORMERS_NAMES.items():
        for path in paths:
            found[path if path == "lm_head" else f"model.{path}"].append(published)
    return {path: tuple(names) for path, names in found.items()}


def _entry(path: str, module: nn.Module, patterns: tuple[str, ...], runs: tuple[Run, ...]) -> ModuleEntry:
    own = {name: tuple(parameter.shape) for name, parameter in module.named_parameters(recurse=False)}
    number = _LAYER.findall(path)
    return ModuleEntry(
        path=path,
        published_paths=tuple(
            ".".join(number[0] if name == "N" else name for name in pattern.split(".")) for pattern in patterns
        ),
        class_name=type(module).__name__,
        own_parameters=own,
        parameters_own=sum(parameter.numel() for parameter in module.parameters(recurse=False)),
        parameters_total=sum(parameter.numel() for parameter in module.parameters()),
        runs=runs,
    )


def mult_adds_by_class(recording: Recording, stage: str) -> dict[str, tuple[int, int]]:
    """Multiply-adds of a stage by class of module: as torchinfo says, and as counted operator by operator."""
    said: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    own = recording.counts["decode" if stage == "decode" else "prefill"].own_by_module
    for module in recording.modules:
        for run in module.runs:
            if run.name in STAGES[stage]:
                said[module.class_name] += run.mult_adds or 0
        if stage != "vision" or in_vision(module.path):
            products, remainder = divmod(own.get(module.path, 0), 2)
            assert not remainder  # a multiply-add is 2 FLOPs
            counted[module.class_name] += products
    return {name: (said[name], counted[name]) for name in sorted({*said, *counted}) if said[name] or counted[name]}


def stage_parameters(recording: Recording, stage: str) -> int:
    """Parameters that a stage needs: the vision part's, all, or all but the vision part's."""
    needed = {"vision": (True,), "prefill": (True, False), "decode": (False,)}[stage]
    return sum(count for path, count in recording.parameters.items() if in_vision(path) in needed)
