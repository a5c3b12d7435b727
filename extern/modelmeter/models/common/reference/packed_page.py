"""A model of packed pages beside the library's whole model of the same configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.reference.comparison import check_measured
from modelmeter.reference.packed_page import PackedPageReference
from modelmeter.reference.whole_page import Whole

Reference = TypeVar("Reference", bound=PackedPageReference)


def reference_of(cost_model: Any, make: Callable[..., Reference]) -> Reference:
    """The library's model of a cost model's configuration. make: the model's `PageReference`."""
    config = cost_model.config
    text = asdict(config.decoder)
    tied_head = text.pop("tie_word_embeddings")
    # no figure depends on the base of the angles
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": text.pop("mrope_section")}
    runtime = config.runtime
    return make(runtime.dtype, runtime.attention, text=text, vision=asdict(config.vision), tied_head=tied_head)


class PackedPageWhole(Whole):
    """transformers' whole model of a cost model's configuration; its modules' paths are the walks', but for one."""

    def __init__(self, cost_model: Any, make: Callable[..., PackedPageReference]) -> None:
        check_measured(cost_model.config.execution.name, ("transformers",))
        super().__init__(cost_model, reference_of(cost_model, make))

    def inputs(self, layout: MergedGrid) -> Any:
        """What the processor makes of such pages."""
        return self.page.inputs(
            pages=self.cost_model.batch_size,
            columns=layout.columns,
            rows=layout.rows,
            prompt_tokens=self.cost_model.prompt_tokens,
        )

    def place(self, path: str, run: int, layout: MergedGrid) -> str:
        """Where it is in the library, whose activation is a module and here a function."""
        return path.removesuffix(".act_fn")
