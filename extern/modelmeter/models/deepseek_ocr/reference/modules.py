"""The modules that are measured: transformers' Unlimited-OCR, whose parts are DeepSeek-OCR's own
architecture.

Built on the meta device: real modules that run their real forward pass, without weights or memory. Their paths are
transformers' own, as in its whole model; `models.common.reference.deep_encoder_names` has the published ones.

    vision = VisionReference()
    vision.sam(vision.pixels(1, 1024))           # under an instrument
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.models.unlimited_ocr.configuration_unlimited_ocr import (
    UnlimitedOcrTextConfig,
    UnlimitedOcrVisionConfig,
)
from transformers.models.unlimited_ocr.modeling_unlimited_ocr import (
    UnlimitedOcrTextModel,
    UnlimitedOcrVisionModel,
)

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.reference.architecture import ARCHITECTURE
from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.grouped_mm import accept_every_dtype


def text_config(**architecture: int) -> UnlimitedOcrTextConfig:
    """transformers' configuration of a decoder with full attention, by the published names (`ARCHITECTURE`)."""
    for name in architecture:
        choice("architecture value", name, ARCHITECTURE)
    sizes: dict[str, Any] = {**ARCHITECTURE, **architecture}
    try:
        return UnlimitedOcrTextConfig(layer_types=["full_attention"] * sizes["num_hidden_layers"], **sizes)
    except Exception as error:  # the library's own validation errors have no common type
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise ModelMeterError(f"reference: transformers takes no such decoder: {reason}") from error


class VisionReference(nn.Module):  # type: ignore[misc]
    """transformers' vision tower (SAM, then CLIP) and projector on the meta device, in inference.

    pixels [V, 3, s, s] -> [V, g * g, hidden_size], with g = ceil(s / 64) for V views of s pixels a side.
    """

    def __init__(
        self,
        dtype: str = "bfloat16",
        attention: str = "flash",
        hidden_size: int = ARCHITECTURE["hidden_size"],
    ) -> None:
        super().__init__()
        implementation = choice("attention", attention, ATTENTION)
        with on_meta(dtype):
            build: Any = UnlimitedOcrVisionModel._from_config
            self.vision_tower = build(UnlimitedOcrVisionConfig(), attn_implementation=implementation)
            self.multi_modal_projector = nn.Linear(2048, hidden_size)
        self.dtype = DTYPES[dtype]
        self.eval()

    @property
    def sam(self) -> nn.Module:
        """The SAM encoder: pixels [V, 3, s, s] -> `.last_hidden_state` [V, 1024, g, g]."""
        return self.vision_tower.sam_encoder

    @property
    def clip(self) -> nn.Module:
        """The CLIP tower: SAM's map [V, 1024, g, g] -> `.last_hidden_state` [V, g * g + 1, 1024]."""
        return self.vision_tower.vision_encoder

    @property
    def projector(self) -> nn.Linear:
        """The projector: features [V, n, 2048] -> [V, n, 1280]."""
        return self.multi_modal_projector

    def pixels(self, views: int, side: int, width: int | None = None) -> Tensor:
        """Pixel values of `views` views of `side` (by `width`, where given) pixels, on the meta device."""
        return torch.empty(views, 3, side, width or side, dtype=self.dtype, device="meta")

    def sam_map(self, views: int, side: int) -> Tensor:
        """What SAM makes of such views, as an input for CLIP alone, on the meta device."""
        grid = -(-side // 64)
        return torch.empty(views, 1024, grid, grid, dtype=self.dtype, device="meta")

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Tower, then projector, as transformers' whole model calls them for one batch of equal views."""
        outputs = self.vision_tower(pixel_values)
        return self.multi_modal_projector(outputs.last_hidden_state)


class TextReference(nn.Module):  # type: ignore[misc]
    """transformers' decoder and head on the meta device, in inference, with full attention in every layer.

    `architecture` takes the names of the published configuration (`ARCHITECTURE`); defaults are the published
    values. `experts_implementation="grouped_mm"` is right for FLOPs, memory and traffic; "batched_mm" for
    FLOPs only.
    """

    def __init__(
        self,
        dtype: str = "bfloat16",
        attention: str = "flash",
        experts_implementation: Literal["grouped_mm", "batched_mm"] = "grouped_mm",
        **architecture: int,
    ) -> None:
        super().__init__()
        implementation = choice("attention", attention, ATTENTION)
        choice("dtype", dtype, DTYPES)
        config = text_config(**architecture)
        if experts_implementation == "grouped_mm" and dtype != "bfloat16":
            accept_every_dtype()
        with on_meta(dtype):
            build: Any = UnlimitedOcrTextModel._from_config
            self.language_model = build(
                config, attn_implementation=implementation, experts_implementation=experts_implementation
            )
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.config = config
        self.dtype = DTYPES[dtype]
        self.eval()

    @property
    def model(self) -> nn.Module:
        """The decoder without its head."""
        return self.language_model

    def embeddings(self, batch_size: int, seq_len: int) -> Tensor:
        """Input embeddings [B, T, D] on the meta device."""
        return torch.empty(batch_size, seq_len, self.config.hidden_size, dtype=self.dtype, device="meta")

    def cache(self, batch_size: int, seq_len: int) -> DynamicCache:
        """A KV cache that holds `seq_len` positions (none for 0), on the meta device."""
        return filled_cache(self.config, self.dtype, batch_size, seq_len)

    def forward(self, inputs_embeds: Tensor, past_key_values: DynamicCache | None = None) -> Any:
        """The decoder without head, as `generate` calls it: with a cache, made when not given."""
        return self.language_model(inputs_embeds=inputs_embeds, past_key_values=past_key_values, use_cache=True)


def filled_cache(config: Any, dtype: torch.dtype, batch_size: int, seq_len: int) -> DynamicCache:
    """A KV cache of a decoder that holds `seq_len` positions (none for 0), on the meta device."""
    cache = DynamicCache(config=config)
    shape = (batch_size, config.num_key_value_heads, seq_len, config.head_dim)
    for layer in range(config.num_hidden_layers if seq_len else 0):
        keys, values = (torch.empty(shape, dtype=dtype, device="meta") for _ in range(2))
        cache.update(keys, values, layer)
    return cache
