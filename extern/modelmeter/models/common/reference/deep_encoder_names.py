"""Where the modules of transformers' Unlimited-OCR stand by the published (checkpoint) names, and in our walks.

Two models are built of these modules. A real module counts under its published path, with the branch of the page in
front of SAM, CLIP and projector, as in "global.sam_model.blocks.2".

    transformers_path("sam_model.blocks.3.mlp.lin1")   # 'vision_tower.sam_encoder.layers.3.mlp.lin1'
    place("sam_model.blocks.2.attn", 0, ("global",))   # 'global.sam_model.blocks.2.attn'

Left out: the patch convolution of the published CLIP tower, which is never run and which transformers does not have
(602,112 parameters).
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

from modelmeter.errors import ModelMeterError, near
from modelmeter.reference._dispatch import enclosing_paths

VISION_TOWER = "vision_tower"
"""SAM and CLIP together, which the checkpoint has no name for."""

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


TOWER = ("sam_model", "vision_model", "projector")
"""The parts that run once for each branch of a page, the global view and the tiles."""

WITHIN = frozenset({"act", "act_fn", "activation_fn", "position_embedding"})
"""Modules of the real code that are no layers of the cost model: what they run counts to the module around them."""


def place(path: str, run: int, branches: Sequence[str]) -> str:
    """Where an operator stands in the cost model's walks: its module's published path, the branch in front.

    path: the published one. run: which run of the vision part that was; they go through `branches` again and again.
    An operator outside all modules, or in a function of the whole model or of its decoder, stands at "".
    """
    outer, _, name = path.rpartition(".")
    if name in WITHIN:
        path = outer
    part = path.partition(".")[0]
    branch = branches[run % len(branches)]
    if part == VISION_TOWER:
        return branch
    return f"{branch}.{path}" if part in TOWER else path


#: What torchinfo's total of parameters gets wrong. The embedding runs before the rest of the decoder, so the decoder is
#: listed twice, the second time with the table as its own; the model's own leftover is then negative, is cut to 0, and
#: takes the parameters that the model holds itself with it.
TORCHINFO_COUNTS_TWICE = ("model.language_model.embed_tokens.weight",)
TORCHINFO_LEAVES_OUT = ("model.view_separator", "model.image_newline")


@cache
def _published_in_whole() -> dict[str, tuple[str, ...]]:
    """transformers' path in the whole model -> the published paths whose work that module does; N is a layer's number.

    The projector is one module for two published ones; three modules share the published fused qkv.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for published, paths in TRANSFORMERS_NAMES.items():
        for path in paths:
            found[path if path == "lm_head" else f"model.{path}"].append(published)
    return {path: tuple(names) for path, names in found.items()}


def published_in_whole(path: str) -> tuple[str, ...]:
    """The published paths of a module of the whole model."""
    return _published_in_whole().get(path, ())
