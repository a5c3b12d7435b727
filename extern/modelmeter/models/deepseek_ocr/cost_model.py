"""The cost of pages of DeepSeek-OCR: what `CostModel` of all models is told of this one, and its parts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from modelmeter.errors import ModelMeterError, near
from modelmeter.layers import BaseLayer
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.models.common import cost_model as common
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.cost_model import PageCost
from modelmeter.models.common.deep_encoder_config import check_encoder, check_heads, check_patches
from modelmeter.models.deepseek_ocr.config import CONFIGURATION, ENGINE_MAX_CROPS, ModelSchema, VisionSchema
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr.layers.core.deepseek_ocr_model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.layers.vision.image_encoder_vit import ImageEncoderViT
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import MlpProjector
from modelmeter.models.deepseek_ocr.layers.vision.vit_model import VitModel
from modelmeter.models.deepseek_ocr.page_layers import make_workload
from modelmeter.models.deepseek_ocr.vision_workload import (
    ViewLayout,
    VisionConfig,
    VisionWorkload,
    build_vision_cfg_from_workload,
)

__all__ = ["CostModel", "PageCost", "load_cost_model", "restore_cost_model"]

PARTS: Final = ("image_encoder_vit", "vit_model", "mlp_projector", "decoder_prefill")

#: side of the published Hugging Face code's tiles, pixels
PUBLISHED_TILE: Final = 640

WITHOUT_AUTOCAST: Final = Assumption(
    figure="execution",
    label="without autocast",
    text="the published infer() runs under CUDA autocast, which changes traffic and peaks and is not modelled",
)


def tiles_of_image_size(image_size: int) -> Assumption:
    """What execution=published models where `image_size` is not the side of the published code's tiles."""
    other = "fails here" if image_size > PUBLISHED_TILE else "puts a part of their features into the prompt"
    cut = f"cuts {PUBLISHED_TILE} all the same"
    return Assumption(
        figure="layout",
        label="tiles of image_size",
        text=f"as in the published vLLM example; the other published code {cut} and {other}",
    )


class CostModel(common.CostModel[ModelSchema, VisionWorkload, DeepseekOCRModel]):
    """The cost of pages under one configuration. Safe to share between threads, and to send to another process."""

    configuration = CONFIGURATION
    executions = EXECUTIONS

    def make_workload(self) -> VisionWorkload:
        """The workload of the configuration."""
        return make_workload(self.config.workload)

    def make_model(self) -> DeepseekOCRModel:
        """The layers of the configuration; raises `ModelMeterError` where its sizes do not fit together."""
        vision, workload = self.config.vision, self.workload
        check_patches(workload, vision.sam)
        decoder = asdict(self.config.decoder)
        check_heads(decoder["hidden_size"], decoder["num_attention_heads"])
        check_vision(vision)
        vocab_size = decoder.pop("vocab_size")
        return DeepseekOCRModel(**self._vision_sizes(), vocab_size=vocab_size, decoder=decoder, code=self.code)

    def _vision_sizes(self) -> dict[str, Any]:
        return {name: asdict(getattr(self.config.vision, name)) for name in ("sam", "clip", "projector")}

    def own_assumptions(self) -> Sequence[Assumption]:
        """What is assumed of the published code, and of engines' crops."""
        execution, image_size = self.config.execution.name, self.workload.image_size
        published = execution == "published"
        other_tiles = published and self.workload.crop_mode and image_size != PUBLISHED_TILE
        return (
            *((WITHOUT_AUTOCAST,) if published else ()),
            *(self._more_crops() if self.code.execution.traits(DecoderTraits).kv_paged else ()),
            *((tiles_of_image_size(image_size),) if other_tiles else ()),
        )

    def vision_config(self, layout: ViewLayout) -> VisionConfig:
        """Batch, img_size, seq_len and num_tokens of both branches."""
        return build_vision_cfg_from_workload(self.workload, layout, self.pages_at_once)

    def _more_crops(self) -> tuple[Assumption, ...]:
        """That pages are cut into more crops here than engines cut them into, where they are."""
        limit = self.workload.max_num
        if not self.workload.crop_mode or limit <= ENGINE_MAX_CROPS:
            return ()
        text = (
            f"counted with workload.max_num={limit}; vLLM and SGLang cut at most {ENGINE_MAX_CROPS} (MAX_CROPS in "
            f"their processors and in the published vLLM config): workload.max_num={ENGINE_MAX_CROPS} counts as they do"
        )
        label = f"up to {limit} crops; engines {ENGINE_MAX_CROPS}"
        return (Assumption(figure="layout", label=label, text=text),)

    def part(self, name: str, **size: Any) -> BaseLayer:
        """A part of the vision stage alone: image_encoder_vit, vit_model (batch_size, img_size) or mlp_projector."""
        parts: dict[str, tuple[type[BaseLayer], str]] = {
            "image_encoder_vit": (ImageEncoderViT, "sam"),
            "vit_model": (VitModel, "clip"),
            "mlp_projector": (MlpProjector, "projector"),
        }
        if name not in parts:
            raise ModelMeterError(f"CostModel: part {name} is unknown; {near(name, PARTS)}")
        layer, architecture = parts[name]
        return layer(**self._vision_sizes()[architecture], **size, code=self.code)

    def part_peak(self, name: str, **size: int) -> int:
        """Activation peak of a part alone, bytes; decoder_prefill (seq_len): the decoder, no embedding and no head."""
        if name == "decoder_prefill":
            seq_len, batch = size.get("seq_len", 0), self.batch_size
            if set(size) != {"seq_len"} or isinstance(seq_len, bool) or not isinstance(seq_len, int) or seq_len < 1:
                given = ", ".join(f"{name}={value!r}" for name, value in size.items()) or "nothing"
                raise ModelMeterError(
                    f"part_peak: decoder_prefill got {given}; give seq_len, a positive whole number of tokens, alone."
                )
            return self.model.decoder_walk(batch, seq_len, self.experts_hit(batch * seq_len)).peak_bytes
        return self.part(name, **size).forward_memory_activation()


def load_cost_model(overrides: Sequence[str] = ()) -> CostModel:
    """Compose the configuration with Hydra overrides, once, and build the model.

    >>> load_cost_model(["workload=base"]).page(1275, 1650).tokens.total
    273
    """
    return CostModel.load(overrides)


def restore_cost_model(configuration: Mapping[str, Any], *, prompt_tokens: int) -> CostModel:
    """The model of a configuration as a result states it, and of the prompt tokens that were counted for it.

    Neither Hydra nor a tokenizer is asked, and nothing is interpolated. Raises `ModelMeterError` for a key that does
    not exist and for a value that is not allowed.

    >>> restore_cost_model({"workload": {"base_size": 640}}, prompt_tokens=10).workload.base_size
    640
    """
    return CostModel.restore(configuration, prompt_tokens=prompt_tokens)


def check_vision(vision: VisionSchema) -> None:
    """Raise `ModelMeterError` unless the sizes of the vision stage fit together: positions, and widths of its parts."""
    sam, clip, projector = vision.sam, vision.clip, vision.projector
    check_encoder(sam, clip)
    width = sam.downsample_channels[-1]
    if projector.input_dim != width + clip.hidden_size:
        raise ModelMeterError(
            f"config: vision.projector.input_dim={projector.input_dim} is not the width of SAM's and CLIP's features "
            f"side by side; give {width + clip.hidden_size}."
        )
