"""From the size of a page to its cost: `load_cost_model` composes the configuration once, `page` is arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from modelmeter.errors import ModelMeterError, near
from modelmeter.layers import BaseLayer
from modelmeter.models.common import StageCost
from modelmeter.models.deepseek_ocr.layers.core.deepseek_ocr_model import DeepseekOCRModel, LayerCost
from modelmeter.models.deepseek_ocr.layers.vision.image_encoder_vit import (
    DOWNSAMPLE_RATIO,
    ImageEncoderViT,
    check_batch_size,
)
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import MlpProjector
from modelmeter.models.deepseek_ocr.layers.vision.vit_model import VitModel
from modelmeter.models.deepseek_ocr.schema import ModelSchema, compose
from modelmeter.models.deepseek_ocr.vision_workload import (
    ViewLayout,
    VisionConfig,
    VisionTokens,
    VisionWorkload,
    build_vision_cfg_from_workload,
    compute_view_layout,
    compute_vision_tokens,
)

PARTS: Final = ("image_encoder_vit", "vit_model", "mlp_projector")


@dataclass(frozen=True, kw_only=True)
class PageCost:
    """One page's layout, tokens and stages (or `runtime.batch_size` pages of the same size together)."""

    layout: ViewLayout
    tokens: VisionTokens
    vision_config: VisionConfig
    vision: StageCost

    @property
    def prefill(self) -> StageCost:
        """Not configured yet."""
        raise _not_configured("prefill")

    @property
    def decode(self) -> StageCost:
        """Not configured yet."""
        raise _not_configured("decode")

    @property
    def total(self) -> StageCost:
        """Not configured yet."""
        raise _not_configured("total")


def _not_configured(stage: str) -> ModelMeterError:
    return ModelMeterError(f"PageCost: {stage} is not configured: no decoder is built; .vision is what there is.")


class CostModel:
    """The cost of pages under one configuration. Safe to share between threads."""

    def __init__(self, config: ModelSchema) -> None:
        self.config = config
        self.workload = VisionWorkload(**vars(config.workload))
        check_batch_size("runtime", config.runtime.batch_size)
        self.common: dict[str, Any] = {
            "execution": config.execution.name,
            "attention": config.runtime.attention,
            "dtype": config.runtime.dtype,
        }
        vision = config.vision
        if self.workload.patch_size != vision.sam.patch_size:
            raise ModelMeterError(
                f"config: workload.patch_size={self.workload.patch_size} differs from "
                f"vision.sam.patch_size={vision.sam.patch_size}; set both to the same size."
            )
        if self.workload.downsample_ratio != DOWNSAMPLE_RATIO:
            raise ModelMeterError(
                f"config: workload.downsample_ratio={self.workload.downsample_ratio}, but net_2 and net_3 of the SAM "
                f"encoder make one token of {DOWNSAMPLE_RATIO} x {DOWNSAMPLE_RATIO} patches; leave it at that."
            )
        self.architecture: dict[str, Any] = {
            name: asdict(getattr(vision, name)) for name in ("sam", "clip", "projector")
        }
        self.model = DeepseekOCRModel(**self.architecture, **self.common)
        self._stages: dict[ViewLayout, StageCost] = {}

    def vision_config(self, layout: ViewLayout) -> VisionConfig:
        """Batch, img_size, seq_len and num_tokens of both branches."""
        return build_vision_cfg_from_workload(self.workload, layout, self.config.runtime.batch_size)

    def page(self, width: int, height: int) -> PageCost:
        """The cost of a page of `width` x `height` pixels."""
        layout = compute_view_layout(self.workload, width, height)
        vision_config = self.vision_config(layout)
        stage = self._stages.get(layout)
        if stage is None:
            stage = self._stages[layout] = self.model.vision_cost(vision_config, (layout.w_crop, layout.h_crop))
        return PageCost(
            layout=layout,
            tokens=compute_vision_tokens(self.workload, layout),
            vision_config=vision_config,
            vision=stage,
        )

    def vision_layers(self, layout: ViewLayout) -> list[LayerCost]:
        """The layers of the vision stage, in order, and the operators between them."""
        walk = self.model.vision_walk(self.vision_config(layout), (layout.w_crop, layout.h_crop))
        return list(self.model._iter_layers("vision", walk))

    def part(self, name: str, **size: Any) -> BaseLayer:
        """A part of the model alone: image_encoder_vit, vit_model (batch_size, img_size) or mlp_projector."""
        parts: dict[str, tuple[type[BaseLayer], str]] = {
            "image_encoder_vit": (ImageEncoderViT, "sam"),
            "vit_model": (VitModel, "clip"),
            "mlp_projector": (MlpProjector, "projector"),
        }
        if name not in parts:
            raise ModelMeterError(f"CostModel: part {name} is unknown; {near(name, PARTS)}")
        layer, architecture = parts[name]
        return layer(**self.architecture[architecture], **size, **self.common)

    def part_peak(self, name: str, **size: int) -> int:
        """Activation peak of a part alone, bytes."""
        return self.part(name, **size).forward_memory_activation()


def load_cost_model(overrides: Sequence[str] = ()) -> CostModel:
    """Compose the configuration with Hydra overrides, once, and build the model.

    >>> load_cost_model(["workload=base"]).page(1275, 1650).tokens.total
    273
    """
    return CostModel(compose(overrides))
