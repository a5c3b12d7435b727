"""`DeepseekOCRModel`: the parts of DeepSeek-OCR put together, by stage.

Source of the vision stage's walk: `UnlimitedOcrModel.get_image_features` of transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from modelmeter.errors import ModelMeterError, near
from modelmeter.layers import BaseLayer
from modelmeter.models.common import StageCost
from modelmeter.models.deepseek_ocr.layers.vision.image_encoder_vit import ImageEncoderViT
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import MlpProjector
from modelmeter.models.deepseek_ocr.layers.vision.vit_model import VitModel
from modelmeter.models.deepseek_ocr.vision_workload import VisionConfig
from modelmeter.operators import cat, reshape
from modelmeter.shape_tensor import Call, OperatorRecord, ShapeTensor, Tape, Walk

STAGES: Final = ("vision", "prefill", "decode")


class LayerCost(NamedTuple):
    """A layer's share of a stage: its path, its layer (None: the operators between the layers) and its walk."""

    path: str
    layer: BaseLayer | None
    walk: Walk | OperatorRecord


class VisionTower(BaseLayer):
    """SAM, then CLIP over its map, then both side by side: pixels [B, 3, s, s] -> [B, q*q, 2048]."""

    def __init__(self, sam_model: ImageEncoderViT, vision_model: VitModel, **common: Any) -> None:
        super().__init__(**common)
        self.sam_model = sam_model
        self.vision_model = vision_model

    def forward(self, pixel_values: ShapeTensor) -> ShapeTensor:
        residual = self.sam_model.call_remembered("sam_model", pixel_values)
        hidden_states = self.vision_model.call_remembered("vision_model", residual)
        residual = residual.flatten(2).transpose(1, 2)  # [B, 1024, g, g] -> [B, g*g, 1024]
        return cat((hidden_states.narrow(1, 1, hidden_states.shape[1]), residual), -1)


class DeepseekOCRModel(BaseLayer):
    """DeepSeek-OCR. Stages are sums over the layers that run in them; no figure is scaled.

    sam, clip, projector: architectural arguments of `ImageEncoderViT`, `VitModel` and `MlpProjector`; the defaults
    are the published model's.
    """

    def __init__(
        self,
        *,
        sam: Mapping[str, Any] | None = None,
        clip: Mapping[str, Any] | None = None,
        projector: Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.sam_model = ImageEncoderViT(**dict(sam or {}), **self.common)
        self.vision_model = VitModel(**dict(clip or {}), **self.common)
        self.projector = MlpProjector(**dict(projector or {}), **self.common)
        width = self.projector.output_shapes()[0][-1]
        self.image_newline = self.parameter(width)
        self.view_seperator = self.parameter(width)  # the published name, misspelt there
        self.tower = VisionTower(self.sam_model, self.vision_model, **self.common)

    def children(self) -> Iterator[tuple[str, BaseLayer]]:
        """The parts with parameters; the tower only calls two of them."""
        return (pair for pair in super().children() if pair[0] != "tower")

    # -- the vision stage --------------------------------------------------------------------------------------------

    def forward(
        self, global_pixels: ShapeTensor, crop_pixels: ShapeTensor | None, grid: tuple[int, int]
    ) -> tuple[ShapeTensor, ...]:
        """Pages through vision: all global views as one batch, then all crops as one batch, then page by page.

        Returns what outlives the stage: each page's image tokens, and the tower's features of both branches.
        """
        global_hidden = self._tower("global", global_pixels)
        global_features = self._projector("global", global_hidden)
        crop_hidden = crop_features = None
        if crop_pixels is not None:
            crop_hidden = self._tower("crops", crop_pixels)
            crop_features = self._projector("crops", crop_hidden)
        tape = global_pixels.tape
        newline = self.image_newline.on(tape).unsqueeze(0).unsqueeze(0)
        separator = self.view_seperator.on(tape).unsqueeze(0)
        pages = global_pixels.shape[0]
        columns, rows = grid
        all_features = []
        for page in range(pages):
            features = global_features.select(0, page)
            side = round(features.shape[0] ** 0.5)
            global_grid = features.view(side, side, -1)
            global_grid = cat((global_grid, newline.expand(side, 1, -1)), 1)
            global_flat = global_grid.view(-1, global_grid.shape[-1])
            if crop_features is None:
                all_features.append(cat((global_flat, separator), 0))
                continue
            crops = columns * rows
            local_features = crop_features.narrow(0, page * crops, (page + 1) * crops)
            side = round(local_features.shape[1] ** 0.5)
            local_grid = local_features.view(rows, columns, side, side, -1)
            local_grid = reshape(local_grid.transpose(1, 2), rows * side, columns * side, -1)
            local_grid = cat((local_grid, newline.expand(rows * side, 1, -1)), 1)
            local_flat = local_grid.view(-1, local_grid.shape[-1])
            all_features.append(cat((local_flat, global_flat, separator), 0))
        held = (global_hidden,) if crop_hidden is None else (global_hidden, crop_hidden)
        return (*all_features, *held)

    def _tower(self, branch: str, pixels: ShapeTensor) -> ShapeTensor:
        return self.tower.call_remembered(branch, pixels)  # type: ignore[no-any-return]

    def _projector(self, branch: str, features: ShapeTensor) -> ShapeTensor:
        return self.projector.call_remembered(f"{branch}.projector", features)  # type: ignore[no-any-return]

    def vision_walk(self, vision: VisionConfig, grid: tuple[int, int]) -> Walk:
        """The vision stage of pages whose branches are `vision`, cut into `grid` (columns, rows)."""
        tape = Tape()
        branches = [vision.global_branch] + ([] if vision.crop_branch is None else [vision.crop_branch])
        pixels = [
            tape.input((branch.batch_size, 3, branch.img_size, branch.img_size), self.dtype) for branch in branches
        ]
        self.call_remembered("", pixels[0], pixels[1] if len(pixels) > 1 else None, grid)
        call = tape.entries[-1]
        assert isinstance(call, Call)
        return call.walk

    # -- stages as sums over layers ----------------------------------------------------------------------------------

    def _iter_layers(self, stage: str, vision: VisionConfig, grid: tuple[int, int]) -> Iterator[LayerCost]:
        """The layers that run in a stage, in order, and the operators between them; together they are the stage."""
        if stage not in STAGES:
            raise ModelMeterError(f"DeepseekOCRModel: stage {stage} is unknown; {near(stage, STAGES)}")
        if stage != "vision":
            raise ModelMeterError(
                f"DeepseekOCRModel: stage {stage} is not configured: no decoder is built; use the vision stage."
            )
        parts: Mapping[str, BaseLayer] = {
            "sam_model": self.sam_model,
            "vision_model": self.vision_model,
            "projector": self.projector,
        }
        yield from _leaves(self.vision_walk(vision, grid), "", parts)

    def vision_cost(self, vision: VisionConfig, grid: tuple[int, int]) -> StageCost:
        """The vision stage's cost."""
        return StageCost.of_walk(self.vision_walk(vision, grid), weight_bytes=self.forward_memory_weight())


def _leaves(walk: Walk, path: str, parts: Mapping[str, BaseLayer]) -> Iterator[LayerCost]:
    """Open a walk down to the named parts and to the operators outside them."""
    for entry in walk.entries:
        full = ".".join(name for name in (path, entry.path) if name)
        if isinstance(entry, OperatorRecord):
            yield LayerCost(full, None, entry)
            continue
        part = parts.get(full.rpartition(".")[2])
        if part is None:
            yield from _leaves(entry.walk, full, parts)
        else:
            yield LayerCost(full, part, entry.walk)
