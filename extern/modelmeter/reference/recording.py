"""One page's pass and one decode step through a whole model, as torchinfo and the FLOP counter see them.

A pass is named by what runs: "vision.<view>" (tower and projector over a batch of views, one pass a batch), "prefill"
(everything else of the page's pass) and "decode" (one step over the cache that the page left).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torchinfo
import transformers
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from modelmeter.errors import ModelMeterError
from modelmeter.reference.flops import FlopCount, measure_flops
from modelmeter.reference.module_calls import ModuleCalls, Shape
from modelmeter.reference.whole_page import PageInputs, WholePage, values_unchecked

#: the path, or the paths, of a module by the published names; layers' numbers are N on both sides
Published = Callable[[str], tuple[str, ...]]


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

    whole: WholePage
    passes: tuple[str, ...]
    """In the order in which they run."""
    vision: tuple[str, ...]
    """What belongs to vision: parts of the model, and the parameters that it holds itself; its tower first."""
    modules: tuple[ModuleEntry, ...]
    page_summary: Any
    counts: Mapping[str, FlopCount]
    """FLOPs of the page's pass ("prefill") and of the step ("decode")."""

    @property
    def parameters(self) -> Mapping[str, int]:
        """Elements of every named parameter of the model, each once."""
        return {name: parameter.numel() for name, parameter in self.whole.model.named_parameters()}

    @property
    def named_alike(self) -> Mapping[str, int]:
        """The same, where two names stand for one parameter under both."""
        named = self.whole.model.named_parameters(remove_duplicate=False)
        return {name: parameter.numel() for name, parameter in named}

    @property
    def stages(self) -> Mapping[str, tuple[str, ...]]:
        """The passes that a stage consists of; prefill includes vision."""
        *vision, prefill, decode = self.passes
        return {"vision": tuple(vision), "prefill": (*vision, prefill), "decode": (decode,)}

    @property
    def versions(self) -> Mapping[str, str]:
        """The libraries', without the build's suffix: the modules do not depend on it."""
        return {each.__name__: each.__version__.partition("+")[0] for each in (torch, torchinfo, transformers)}

    def in_vision(self, path: str) -> bool:
        """Whether a module or parameter belongs to the vision stage."""
        return _within(path, self.vision)

    def exact_totals(self) -> str:
        """torchinfo's table of the page's pass, its totals exact, not rounded to giga."""
        self.page_summary.formatting.macs_units = torchinfo.Units.NONE
        return str(self.page_summary)


def _within(path: str, parts: Sequence[str]) -> bool:
    return any(path == part or path.startswith(f"{part}.") for part in parts)


class _PassNames:
    """Names the runs of one pass: the tower sees one batch of views after the other."""

    def __init__(self, first: str, passes: Sequence[str], vision: Sequence[str]) -> None:
        self.first = first
        self.passes = passes
        self.vision = vision
        self.towers = 0

    def __call__(self, path: str) -> str:
        """The pass that the module at `path` begins to run in."""
        if path == self.vision[0]:
            self.towers += 1
        return self.passes[self.towers - 1] if _within(path, self.vision) else self.first


def record(whole: WholePage, page: PageInputs, views: Sequence[str], published: Published) -> Recording:
    """Run a page, then one decode step, and note every module. views: the batches of views, as they run."""
    vision = tuple(_names_of(whole))
    passes = (*(f"vision.{view}" for view in views), "prefill", "decode")
    inputs = {"input_ids": page.token_ids.to("meta"), **page.images}
    cache = DynamicCache(config=whole.text)
    page_summary, page_runs, page_count = _run(whole, _PassNames("prefill", passes, vision), inputs, cache)
    features = page_runs[""][0].outputs[-1]
    if features[0] != page.image_tokens:
        raise ModelMeterError(
            f"snapshot: the reference made {features[0]} image features for {page.image_tokens} placeholders."
        )
    step = {"input_ids": page.token_ids[:, :1].to("meta")}
    _, step_runs, step_count = _run(whole, _PassNames("decode", passes, vision), step, cache)
    modules = tuple(
        _entry(path, module, published(_LAYER.sub("N", path)), (*page_runs[path], *step_runs[path]))
        for path, module in whole.model.named_modules()
    )
    return Recording(
        whole=whole,
        passes=passes,
        vision=vision,
        modules=modules,
        page_summary=page_summary,
        counts={"prefill": page_count, "decode": step_count},
    )


def _names_of(whole: WholePage) -> list[str]:
    """The paths in the whole model of what the vision stage needs."""
    named = {id(each): name for name, each in (*whole.model.named_modules(), *whole.model.named_parameters())}
    return [named[id(each)] for each in whole.vision_weights]


def _run(
    whole: WholePage, names: _PassNames, inputs: Mapping[str, Any], cache: object
) -> tuple[Any, Mapping[str, list[Run]], FlopCount]:
    """One pass: torchinfo's summary, the runs of every module, and the FLOPs."""
    model = whole.model
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

    with values_unchecked(whole.modeling), ModuleCalls(model, names) as seen:
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
            if run.name in recording.stages[stage]:
                said[module.class_name] += run.mult_adds or 0
        if stage != "vision" or recording.in_vision(module.path):
            products, remainder = divmod(own.get(module.path, 0), 2)
            assert not remainder  # a multiply-add is 2 FLOPs
            counted[module.class_name] += products
    return {name: (said[name], counted[name]) for name in sorted({*said, *counted}) if said[name] or counted[name]}


def stage_parameters(recording: Recording, stage: str) -> int:
    """Parameters that a stage needs: the vision part's, all, or all but the vision part's."""
    needed = {"vision": (True,), "prefill": (True, False), "decode": (False,)}[stage]
    return sum(count for path, count in recording.parameters.items() if recording.in_vision(path) in needed)
