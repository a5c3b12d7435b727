"""DeepSeek-OCR's real modules beside a cost model: whole pages, and the parts of vision one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.reference.deep_encoder_names import (
    TORCHINFO_COUNTS_TWICE,
    TORCHINFO_LEAVES_OUT,
    place,
    published_in_whole,
    published_path,
)
from modelmeter.models.deepseek_ocr.config import VisionSchema
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost
from modelmeter.models.deepseek_ocr.page_layers import layout_layers, vision_calls
from modelmeter.models.deepseek_ocr.reference.branch import BranchMeasurement, measure_branch, vision_reference
from modelmeter.models.deepseek_ocr.reference.page import PageGeometry, PageReference
from modelmeter.models.deepseek_ocr.reference.replica_page import ReplicaPageReference, replica_path
from modelmeter.models.deepseek_ocr.vision_workload import ViewLayout
from modelmeter.reference.comparison import Compared, Row, block_flops, check_measured
from modelmeter.reference.whole_page import Whole
from modelmeter.walk import Walk, join_path

REPLICA_NOTE: Final = (
    "execution=published: whole pages and stages are measured on the replica of that code "
    "(modelmeter/models/deepseek_ocr/reference/replica.py), which gives every figure that was measured on the "
    "published files; without autocast."
)
HALF_PRECISION_NOTE: Final = (
    "float16 with attention=eager: the meta device converts before a softmax in float32; on CUDA that is "
    "one operator, with less traffic and perhaps a lower peak."
)

#: by execution, the whole model that shows what it costs
WHOLE_MODELS: Final[Mapping[str, type[PageReference] | type[ReplicaPageReference]]] = {
    "transformers": PageReference,
    "published": ReplicaPageReference,
}


class DeepseekOcrWhole(Whole):
    """The whole model of a cost model's configuration: transformers', or the replica of the published code."""

    torchinfo_counts_twice = TORCHINFO_COUNTS_TWICE
    torchinfo_leaves_out = TORCHINFO_LEAVES_OUT

    def __init__(self, cost_model: CostModel) -> None:
        check_vision(cost_model)
        config = cost_model.config
        check_measured(config.execution.name, WHOLE_MODELS)
        whole = WHOLE_MODELS[config.execution.name]
        super().__init__(cost_model, whole(config.runtime.dtype, config.runtime.attention, **vars(config.decoder)))
        self.published = config.execution.name == "published"

    @property
    def notes(self) -> Sequence[str]:
        """That a replica stands for the published code, and what the meta device does otherwise than a GPU."""
        runtime = self.cost_model.config.runtime
        eager_half = runtime.attention == "eager" and runtime.dtype == "float16"
        return [*([REPLICA_NOTE] if self.published else []), *([HALF_PRECISION_NOTE] if eager_half else [])]

    @property
    def published_unused(self) -> Mapping[str, tuple[str, int]]:
        """The published CLIP tower's patch convolution, which transformers does not have."""
        convolution = ("the vision tower's patch convolution, never run", self.page.unused_patch_convolution())
        return {"published_unused_patch_convolution": convolution}

    def published_paths(self, path: str) -> tuple[str, ...]:
        """By the checkpoint's names."""
        return published_in_whole(path)

    def inputs(self, layout: ViewLayout) -> Any:
        """What the published preprocessing makes of such pages."""
        return self.page.inputs(page_geometry(self.cost_model, layout))

    def place(self, path: str, run: int, layout: ViewLayout) -> str:
        """By the published name; a branch runs after the other, the published code's crops first."""
        branches = ["global"] if layout.num_views_total == 1 else ["global", "crops"]
        if self.published:
            return place(replica_path(path), run, branches[::-1])
        return place(published_path(path), run, branches)

    def parts(self, source: Mapping[str, Any]) -> VisionParts:
        """SAM, CLIP and projector of each branch."""
        return VisionParts(self.cost_model, source)


class VisionParts:
    """SAM, CLIP and projector of a source, each alone; branches of equal geometry are measured once."""

    def __init__(self, cost_model: CostModel, source: Mapping[str, Any]) -> None:
        self.cost_model = cost_model
        config = cost_model.config
        modules = vision_reference(
            source["name"],
            folder=source["folder"],
            trust_remote_code=source["trust_remote_code"],
            dtype=config.runtime.dtype,
            attention=config.runtime.attention,
            hidden_size=config.decoder.hidden_size,
        )
        #: whether the modules are the code whose traffic and peaks the cost model states
        self.same_code = source["name"] == config.execution.name
        self._branch = cache(lambda views, side: measure_branch(modules, views, side))

    def rows(self, page: PageCost, detail: str) -> list[Row]:
        """A row for each part of each branch and, on detail=blocks, for every block below them."""
        cost_model = self.cost_model
        calls = vision_calls(cost_model)
        vision = cost_model.vision_config(page.layout)
        branches = {"global": vision.global_branch, "crops": vision.crop_branch}
        walks: dict[str, list[Walk]] = {}
        for cost in cost_model.vision_layers(page.layout):
            if cost.layer is not None and isinstance(cost.walk, Walk):
                walks.setdefault(cost.path, []).append(cost.walk)
        rows: list[Row] = []
        for name, parts in layout_layers(cost_model, page.layout).items():
            branch = branches[name]
            assert branch is not None
            shapes = {part: layer.output_shapes()[0] for part, layer in parts.items()}
            alone = {part: layer.walk() for part, layer in parts.items()} if self.same_code else {}
            measured = self._branch(branch.batch_size // calls, branch.img_size)
            rows.extend(branch_rows(name, walks, measured, alone, shapes, detail))
        return rows


def branch_rows(
    branch: str,
    walks: Mapping[str, Sequence[Walk]],
    measured: BranchMeasurement,
    alone: Mapping[str, Walk],
    shapes: Mapping[str, tuple[int, ...]],
    detail: str,
) -> Iterator[Row]:
    """A row for SAM, CLIP and projector of one branch and, on detail=blocks, for every block below them.

    walks: by path, a part's walks in the stage. measured, shapes: one call of each part. alone: the parts' own walks,
    whose traffic and peak are compared (none where the reference is other code).
    """
    for path, calls in walks.items():
        owner, _, part = path.partition(".")
        if owner != branch:
            continue
        walk, found = alone.get(part), measured.parts[part]
        yield Row(
            name=path,
            analytic_flops=sum(call.tensor_core_flops for call in calls),
            measured_flops=len(calls) * measured.flops_of(part),
            analytic_shape=shapes[part],
            measured_shape=measured.shapes[part],
            io=None if walk is None else Compared(walk.bytes_read + walk.bytes_written, found.io_bytes),
            peak=None if walk is None else Compared(walk.peak_bytes, found.activation_peak_bytes),
            peak_operator=("", "") if walk is None else (walk.peak_operator, found.peak_operator),
            peak_path=("", "")
            if walk is None
            else (join_path(path, walk.peak_path), measured.peak_place(part, branch)),
        )
        if detail == "blocks":
            blocks = [block_flops(call) for call in calls]
            for below in blocks[0]:
                yield Row(
                    name=f"{path}.{below}",
                    analytic_flops=sum(flops[below] for flops in blocks),
                    measured_flops=len(calls) * measured.flops_of(f"{part}.{below}"),
                )


def check_vision(cost_model: CostModel) -> None:
    """Refuse a vision tower that is not the published one, which is all that the reference modules are."""
    config = cost_model.config
    published = VisionSchema()
    published.projector = replace(published.projector, n_embed=config.decoder.hidden_size)
    if config.vision != published:
        raise ModelMeterError(
            "verify: the configuration changes vision.*; the reference measures the published architecture only, "
            "so leave vision.* as it is (but vision.projector.n_embed follows decoder.hidden_size)."
        )


def page_geometry(cost_model: CostModel, layout: ViewLayout) -> PageGeometry:
    """Pages of a layout as the reference takes them."""
    vision = cost_model.vision_config(layout)
    return PageGeometry(
        pages=cost_model.batch_size,
        global_side=vision.global_branch.img_size,
        crop_side=0 if vision.crop_branch is None else vision.crop_branch.img_size,
        columns=layout.w_crop,
        rows=layout.h_crop,
        prompt_tokens=cost_model.prompt_tokens,
        base_size=vision.base_size,
    )
