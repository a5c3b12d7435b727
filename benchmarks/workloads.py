"""What every tool counts: four passes of the reference's modules, one tensor in, one tensor out, on the meta device.

A pass is transformers' own module behind a thin `nn.Module`: tools that trace want tensors at both ends, and tools
that run a module more than once must not find a cache that the run before has filled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor, nn

PROMPT_TOKENS: Final = 913


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A pass: its title, the module and its input on the meta device, and this library's count of its FLOPs."""

    title: str
    build: Callable[[], tuple[nn.Module, Tensor]]
    analytic: Callable[[], int]


def _vision(views: int, side: int) -> tuple[nn.Module, Tensor]:
    import torch

    from modelmeter.models.deepseek_ocr.reference.modules import VisionReference

    module = VisionReference()
    return module, torch.empty(views, 3, side, side, dtype=module.dtype, device="meta")


def _text(tokens: int, context: int) -> tuple[nn.Module, Tensor]:
    from torch import nn

    from modelmeter.models.deepseek_ocr.reference.modules import TextReference

    class Pass(nn.Module):
        """The decoder without its head on `tokens` embeddings, after `context` positions that a cache holds."""

        def __init__(self) -> None:
            super().__init__()
            self.text = TextReference()
            self.eval()

        def forward(self, embeddings: Tensor) -> Any:
            cache = self.text.cache(1, context)
            return self.text(embeddings, past_key_values=cache).last_hidden_state

    module = Pass()
    return module, module.text.embeddings(1, tokens)


def _vision_flops(views: int, side: int) -> int:
    from modelmeter.models.deepseek_ocr import ImageEncoderViT, MlpProjector, VitModel

    tokens = (side // 64) ** 2
    return (
        ImageEncoderViT(batch_size=views, img_size=side).forward_tensor_core_flops()
        + VitModel(batch_size=views, img_size=side).forward_tensor_core_flops()
        + MlpProjector(batch_size=views, num_tokens=tokens).forward_tensor_core_flops()
    )


def _text_flops(stage: str) -> int:
    from modelmeter.models.deepseek_ocr import load_cost_model

    text = load_cost_model(["runtime.head=none"]).text(PROMPT_TOKENS, 1)
    return int(getattr(text, stage).tensor_core_flops)


WORKLOADS: Final[dict[str, Workload]] = {
    "vision_1x1024": Workload(
        title="vision, 1 view of 1024",
        build=lambda: _vision(1, 1024),
        analytic=lambda: _vision_flops(1, 1024),
    ),
    "vision_6x640": Workload(
        title="vision, 6 views of 640",
        build=lambda: _vision(6, 640),
        analytic=lambda: _vision_flops(6, 640),
    ),
    "prefill_913": Workload(
        title=f"prefill of {PROMPT_TOKENS}",
        build=lambda: _text(PROMPT_TOKENS, 0),
        analytic=lambda: _text_flops("prefill"),
    ),
    "decode_913": Workload(
        title=f"one step after {PROMPT_TOKENS}",
        build=lambda: _text(1, PROMPT_TOKENS),
        analytic=lambda: _text_flops("decode"),
    ),
}
