"""HunyuanOCR's real modules beside a cost model: whole pages of any size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.hunyuan_vl.cost_model import CostModel
from modelmeter.models.hunyuan_vl.reference.page import PageReference
from modelmeter.reference.comparison import check_measured
from modelmeter.reference.whole_page import Whole

#: what modules of the library are called in our walks: by the checkpoint's names, or they are functions there
NAMES: Final[Mapping[str, str]] = {
    "layer_norm1": "input_layernorm",
    "layer_norm2": "post_attention_layernorm",
    "fc1": "dense_h_to_4h",
    "fc2": "dense_4h_to_h",
    "activation_fn": "",
    "patch_merger": "perceive",
    "proj_conv": "proj.0",
    "proj_act": "proj.1",
    "proj_out": "proj.2",
    "query_layernorm": "q_norm",
    "key_layernorm": "k_norm",
    "act_fn": "",
}


def named_as_walked(path: str) -> str:
    """The path of one of the library's modules as our walks have it."""
    return ".".join(filter(None, (NAMES.get(name, name) for name in path.split("."))))


def named_as_library(path: str) -> str:
    """The path of one of our layers as the library has it."""
    for ours, theirs in ((walked, name) for name, walked in NAMES.items() if walked):
        path = re.sub(rf"(^|\.){re.escape(ours)}(\.|$)", rf"\1{theirs}\2", path)
    return path


class HunYuanWhole(Whole):
    """transformers' whole model of a cost model's configuration."""

    #: the embedding runs before the rest of the decoder, and the head, which is tied to it, after
    torchinfo_counts_twice = ("model.language_model.embed_tokens.weight", "lm_head.weight")

    def __init__(self, cost_model: CostModel) -> None:
        check_measured(cost_model.config.execution.name, ("transformers",))
        super().__init__(cost_model, reference_of(cost_model))

    def inputs(self, layout: MergedGrid) -> Any:
        """What the processor makes of such pages."""
        return inputs_of(self.page, self.cost_model, layout)

    def place(self, path: str, run: int, layout: MergedGrid) -> str:
        """By the checkpoint's name."""
        return named_as_walked(path)


def inputs_of(reference: PageReference, cost_model: CostModel, layout: MergedGrid) -> Any:
    """What the processor makes of pages of this layout."""
    return reference.inputs(
        pages=cost_model.batch_size,
        columns=layout.columns,
        rows=layout.rows,
        prompt_tokens=cost_model.prompt_tokens,
    )


def reference_of(cost_model: CostModel) -> PageReference:
    """The library's model of a cost model's configuration."""
    config = cost_model.config
    text = asdict(config.decoder)
    tied_head = text.pop("tie_word_embeddings")
    # no figure depends on the base of the angles, nor on how it is stretched
    text["rope_parameters"] = {
        "rope_type": "dynamic",
        "alpha": 1000.0,
        "factor": 1.0,
        "rope_theta": 10000.0,
        "mrope_section": text.pop("mrope_section"),
    }
    runtime = config.runtime
    vision = asdict(config.vision)
    return PageReference(runtime.dtype, runtime.attention, text=text, vision=vision, tied_head=tied_head)
