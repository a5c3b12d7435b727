"""The modules that are measured: transformers' Unlimited-OCR, whose parts are DeepSeek-OCR's own
architecture.

Built on the meta device: real modules that run their real forward pass, without weights or memory. Their
paths are transformers' own, as in its whole model; `transformers_path` leads there from the published
(checkpoint) names.

Left out: the patch convolution of the published CLIP tower, which is never run and which transformers does
not have (602,112 parameters).

    vision = VisionReference()
    vision.sam(vision.pixels(1, 1024))           # under an instrument
    transformers_path("sam_model.blocks.3.mlp.lin1")   # 'vision_tower.sam_encoder.layers.3.mlp.lin1'
"""

import re
from collections.abc import Mapping
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

from modelmeter.errors import ModelMeterError, near
from modelmeter.reference._dispatch import enclosing_paths
from modelmeter.reference.building import ARCHITECTURE, ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.grouped_mm import accept_every_dtype
from modelmeter.reference.places import VISION_TOWER

_SAM, _CLIP, _TEXT = "vision_tower.sam_encoder", "vision_tower.vision_encoder", "language_model"

TRANSFORMERS_NAMES: Mapping[str, tuple[str, ...]] = {
    "sam_model": (_SAM,),
    "sam_model.patch_embed": (f"{_SAM}.patch_embed",),
    "sam_model.patch_embed.proj": (f"{_SAM}.patch_embed.projection",),
    "sam_model.blocks": (f"{_SAM}.layers",),
    "sam_model.blocks.N": (f"{_SAM}.layers.N",),
    "sam_model.blocks.N.norm1": (f"{_SAM}.layers.N.layer_norm1",),
    "sam_model.blocks.N.attn": (f"{_SAM}.layers.N.attn",),
    "sam_model.blocks.N.attn.qkv": (f"{_SAM}.layers.N.attn.qkv",),
    "sam_model.blocks.N.attn.proj": (f"{_SAM}.layers.N.attn.proj",),
    "sam_model.blocks.N.norm2": (f"{_SAM}.layers.N.layer_norm2",),
    "sam_model.blocks.N.mlp": (f"{_SAM}.layers.N.mlp",),
    "sam_model.blocks.N.mlp.lin1": (f"{_SAM}.layers.N.mlp.lin1",),
    "sam_model.blocks.N.mlp.act": (f"{_SAM}.layers.N.mlp.act",),
    "sam_model.blocks.N.mlp.lin2": (f"{_SAM}.layers.N.mlp.lin2",),
    "sam_model.neck": (f"{_SAM}.neck",),
    "sam_model.neck.0": (f"{_SAM}.neck.conv1",),
    "sam_model.neck.1": (f"{_SAM}.neck.layer_norm1",),
    "sam_model.neck.2": (f"{_SAM}.neck.conv2",),
    "sam_model.neck.3": (f"{_SAM}.neck.layer_norm2",),
    "sam_model.net_2": (f"{_SAM}.proj.conv1",),
    "sam_model.net_3": (f"{_SAM}.proj.conv2",),
    "vision_model": (_CLIP,),
    "vision_model.embeddings": (f"{_CLIP}.embeddings",),
    "vision_model.embeddings.position_embedding": (f"{_CLIP}.embeddings.position_embedding",),
    "vision_model.pre_layrnorm": (f"{_CLIP}.pre_layrnorm",),
    "vision_model.transformer": (f"{_CLIP}.encoder",),
    "vision_model.transformer.layers": (f"{_CLIP}.encoder.layers",),
    "vision_model.transformer.layers.N": (f"{_CLIP}.encoder.layers.N",),
    "vision_model.transformer.layers.N.layer_norm1": (f"{_CLIP}.encoder.layers.N.layer_norm1",),
    "vision_model.transformer.layers.N.self_attn": (f"{_CLIP}.encoder.layers.N.self_attn",),
    "vision_model.transformer.layers.N.self_attn.qkv_proj": (
        f"{_CLIP}.encoder.layers.N.self_attn.q_proj",
        f"{_CLIP}.encoder.layers.N.self_attn.k_proj",
        f"{_CLIP}.encoder.layers.N.self_attn.v_proj",
    ),
    "vision_model.transformer.layers.N.self_attn.out_proj": (f"{_CLIP}.encoder.layers.N.self_attn.out_proj",),
    "vision_model.transformer.layers.N.layer_norm2": (f"{_CLIP}.encoder.layers.N.layer_norm2",),
    "vision_model.transformer.layers.N.mlp": (f"{_CLIP}.encoder.layers.N.mlp",),
    "vision_model.transformer.layers.N.mlp.fc1": (f"{_CLIP}.encoder.layers.N.mlp.fc1",),
    "vision_model.transformer.layers.N.mlp.fc2": (f"{_CLIP}.encoder.layers.N.mlp.fc2",),
    "projector": ("multi_modal_projector",),
    "projector.layers": ("multi_modal_projector",),
    "embed_tokens": (f"{_TEXT}.embed_tokens",),
    "layers": (f"{_TEXT}.layers",),
    "layers.N": (f"{_TEXT}.layers.N",),
    "layers.N.input_layernorm": (f"{_TEXT}.layers.N.input_layernorm",),
    "layers.N.self_attn": (f"{_TEXT}.layers.N.self_attn",),
    "layers.N.self_attn.q_proj": (f"{_TEXT}.layers.N.self_attn.q_proj",),
    "layers.N.self_attn.k_proj": (f"{_TEXT}.layers.N.self_attn.k_proj",),
    "layers.N.self_attn.v_proj": (f"{_TEXT}.layers.N.self_attn.v_proj",),
    "layers.N.self_attn.o_proj": (f"{_TEXT}.layers.N.self_attn.o_proj",),
    "layers.N.post_attention_layernorm": (f"{_TEXT}.layers.N.post_attention_layernorm",),
    "layers.N.mlp": (f"{_TEXT}.layers.N.mlp",),
    "layers.N.mlp.gate_proj": (f"{_TEXT}.layers.N.mlp.gate_proj",),
    "layers.N.mlp.up_proj": (f"{_TEXT}.layers.N.mlp.up_proj",),
    "layers.N.mlp.down_proj": (f"{_TEXT}.layers.N.mlp.down_proj",),
    "layers.N.mlp.act_fn": (f"{_TEXT}.layers.N.mlp.act_fn",),
    "layers.N.mlp.gate": (f"{_TEXT}.layers.N.mlp.gate",),
    "layers.N.mlp.experts": (f"{_TEXT}.layers.N.mlp.experts",),
    "layers.N.mlp.shared_experts": (f"{_TEXT}.layers.N.mlp.shared_experts",),
    "layers.N.mlp.shared_experts.gate_proj": (f"{_TEXT}.layers.N.mlp.shared_experts.gate_proj",),
    "layers.N.mlp.shared_experts.up_proj": (f"{_TEXT}.layers.N.mlp.shared_experts.up_proj",),
    "layers.N.mlp.shared_experts.down_proj": (f"{_TEXT}.layers.N.mlp.shared_experts.down_proj",),
    "norm": (f"{_TEXT}.norm",),
    "lm_head": ("lm_head",),
}
"""Published module path -> the path, or paths, of what does its work in transformers; N is a layer's number.

transformers' paths are relative to its `UnlimitedOcrModel` (`lm_head` lies beside that).
"""

_LAYER_NUMBER = re.compile(r"(?<=\blayers\.)\d+|(?<=\bblocks\.)\d+")


def transformers_paths(published_path: str) -> tuple[str, ...]:
    """The transformers modules that do the work of a published one: three for CLIP's fused qkv, one for any
    other.

    >>> transformers_paths("sam_model.net_2")
    ('vision_tower.sam_encoder.proj.conv1',)
    """
    numbers = _LAYER_NUMBER.findall(published_path)
    pattern = _LAYER_NUMBER.sub("N", published_path)
    if pattern not in TRANSFORMERS_NAMES:
        raise ModelMeterError(
            f"transformers_path: no published module {published_path!r}; {near(pattern, TRANSFORMERS_NAMES)}"
        )
    return tuple(path.replace(".N", f".{numbers[0]}") if numbers else path for path in TRANSFORMERS_NAMES[pattern])


def transformers_path(published_path: str) -> str:
    """The transformers module that does the work of a published one, where it is one.

    >>> transformers_path("layers.11.mlp.gate")
    'language_model.layers.11.mlp.gate'
    """
    paths = transformers_paths(published_path)
    if len(paths) > 1:
        raise ModelMeterError(
            f"transformers_path: {published_path!r} is {len(paths)} modules in transformers "
            f"({', '.join(paths)}); use transformers_paths and sum over them."
        )
    return paths[0]


def _published_names() -> dict[str, str]:
    """`TRANSFORMERS_NAMES` read the other way: of a module with two names the inner one; of several each its own."""
    names = {VISION_TOWER: VISION_TOWER, _TEXT: ""}
    for name, paths in TRANSFORMERS_NAMES.items():
        for path in paths:
            own = path.rpartition(".")[2]
            names[path] = name if len(paths) == 1 else f"{name.rpartition('.')[0]}.{own}"
    return names


_PUBLISHED_NAMES = _published_names()


def published_path(path: str) -> str:
    """Where a transformers module stands by the published names; what it has below a known module is kept.

    >>> published_path("vision_tower.vision_encoder.encoder.layers.3.self_attn.q_proj")
    'vision_model.transformer.layers.3.self_attn.q_proj'
    """
    numbers = _LAYER_NUMBER.findall(path)
    pattern = _LAYER_NUMBER.sub("N", path)
    for known in enclosing_paths(pattern):
        if known in _PUBLISHED_NAMES:
            name = (_PUBLISHED_NAMES[known] + pattern[len(known) :]).removeprefix(".")
            return name.replace(".N", f".{numbers[0]}") if numbers else name
    return path


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
