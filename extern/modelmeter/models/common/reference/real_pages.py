"""A page through a library's model with real tensors and random weights: the passes that are timed.

The model is of the class and the configuration that the reference on the meta device has, made anew on a device that
computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import PageCost
from modelmeter.models.common.reference.packed_page import Reference, reference_of
from modelmeter.reference.building import ATTENTION, DTYPES, built_on
from modelmeter.reference.real_page import RealPage
from modelmeter.reference.timing import check_device
from modelmeter.reference.whole_page import PageInputs, WholePage


def real_page_like(
    reference: WholePage,
    inputs: PageInputs,
    cost_model: Any,
    page: PageCost,
    device: str,
    *,
    kinds_told: bool = False,
    **building: Any,
) -> RealPage:
    """The model of `reference` and pages like `inputs` on a device.

    kinds_told: the model is told which positions are a picture's, and works out its coordinates of them in the pass.
    building: what its class is built with besides.
    """
    runtime = cost_model.config.runtime
    config = reference.model.config
    config.image_token_id = min(config.image_token_id, reference.text.vocab_size - 1)  # a small vocabulary has its own
    torch.manual_seed(0)
    with built_on(device, runtime.dtype):
        build: Any = type(reference.model)._from_config
        model = build(config, attn_implementation=ATTENTION[runtime.attention], **building)
    pictures, others = page.tokens.total, page.seq_len - page.tokens.total
    images = _filled(inputs.images, device, DTYPES[runtime.dtype])

    def rows(picture: int, other: int) -> torch.Tensor:
        return torch.tensor([[picture] * pictures + [other] * others] * cost_model.batch_size, device=device)

    if kinds_told:
        images["mm_token_type_ids"] = rows(1, 0)
    return RealPage(
        model.eval(),
        text=reference.text,
        modeling=reference.modeling,
        device=device,
        token_ids=rows(config.image_token_id, 1),
        images=images,
        head=cost_model.head,
    )


def packed_real_page(cost_model: Any, page: PageCost, device: str, make: Callable[..., Reference]) -> RealPage:
    """The same of a model of packed pages. make: its `PageReference`."""
    check_real(cost_model, device)
    reference = reference_of(cost_model, make)
    columns, rows = page.layout
    inputs = reference.inputs(
        pages=cost_model.batch_size, columns=columns, rows=rows, prompt_tokens=cost_model.prompt_tokens
    )
    return real_page_like(reference, inputs, cost_model, page, device, kinds_told=True)


def check_real(cost_model: Any, device: str) -> None:
    """Raise `ModelMeterError` unless the device is here, and the execution is code that computes."""
    check_device(device)
    name = cost_model.config.execution.name
    if name != "transformers":
        raise ModelMeterError(
            f"validate: execution={name} has no code here that computes; validate execution=transformers."
        )


def _filled(images: Mapping[str, Any], device: str, dtype: torch.dtype) -> dict[str, Any]:
    """The pictures with random values; numbers on the host as they are, and nothing that the model works out itself."""
    return {
        name: torch.randn(value.shape, device=device).to(dtype) if name.startswith("pixel_values") else value
        for name, value in images.items()
        if not name.startswith("image_") or name.endswith("grid_thw")
    }
