"""From a page's size to the vision layers that it goes through, step by step.

`make_workload` builds the `VisionWorkload` of a configuration, `compute_view_layout` cuts a page, and `page_layers`
hands the layout to the layers: SAM encoder, CLIP tower and projector at the sizes of each branch. `CostModel.page` goes
this way for a whole page; verification measures these layers beside the real modules.

    >>> from modelmeter.models.deepseek_ocr import load_cost_model
    >>> layers = page_layers(load_cost_model(["workload=gundam"]), 1275, 1650)
    >>> {branch: layers[branch]["sam_model"].output_shapes() for branch in layers}
    {'global': ((1, 1024, 16, 16),), 'crops': ((6, 1024, 10, 10),)}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelmeter.layers import BaseLayer
from modelmeter.models.deepseek_ocr.traits import PageTraits
from modelmeter.models.deepseek_ocr.vision_workload import (
    BranchConfig,
    ViewLayout,
    VisionWorkload,
    build_vision_cfg_from_workload,
    compute_view_layout,
)

if TYPE_CHECKING:
    from modelmeter.models.deepseek_ocr.config import WorkloadSchema
    from modelmeter.models.deepseek_ocr.cost_model import CostModel


def make_workload(config: WorkloadSchema) -> VisionWorkload:
    """The workload that the group `workload` of a configuration states."""
    return VisionWorkload(**vars(config))


def page_layers(cost_model: CostModel, width: int, height: int) -> dict[str, dict[str, BaseLayer]]:
    """The parts of vision for a page of `width` x `height` pixels, by branch."""
    return layout_layers(cost_model, compute_view_layout(cost_model.workload, width, height))


def layout_layers(cost_model: CostModel, layout: ViewLayout) -> dict[str, dict[str, BaseLayer]]:
    """SAM, CLIP and projector at the sizes of one call, by branch: "global", and "crops" where there are any."""
    vision = build_vision_cfg_from_workload(cost_model.workload, layout, cost_model.pages_at_once)
    layers = {"global": branch_layers(cost_model, vision.global_branch)}
    if vision.crop_branch is not None:
        layers["crops"] = branch_layers(cost_model, vision.crop_branch)
    return layers


def branch_layers(cost_model: CostModel, branch: BranchConfig) -> dict[str, BaseLayer]:
    """The three parts for one call of one branch, by their published names."""
    views = branch.batch_size // vision_calls(cost_model)
    return {
        "sam_model": cost_model.part("image_encoder_vit", batch_size=views, img_size=branch.img_size),
        "vision_model": cost_model.part("vit_model", batch_size=views, img_size=branch.img_size),
        "projector": cost_model.part("mlp_projector", batch_size=views, num_tokens=branch.num_tokens),
    }


def vision_calls(cost_model: CostModel) -> int:
    """How often each branch runs: once for all pages, or page after page."""
    return cost_model.batch_size if cost_model.code.execution.traits(PageTraits).pages_looped else 1
