"""`PaddleOCRVLModel`: a SigLIP tower over packed patches, a projector that merges squares of them, ERNIE's decoder.

Source of the walk: `PaddleOCRVLForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, LayerNorm, Linear
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.vision.packed import Gelu, Grid
from modelmeter.layers.vision.packed_siglip import PatchTensors, SiglipTower
from modelmeter.models.common.deep_encoder import FusionTraits, TiledTextStage
from modelmeter.models.common.packed_pages import PackedPagesModel, of_pages
from modelmeter.models.paddleocr_vl.executions import EXECUTIONS
from modelmeter.models.paddleocr_vl.traits import ProjectorTraits
from modelmeter.operators import Parameter, cat, floor_divide, mul, product, reshape, take_number
from modelmeter.shape_tensor import ShapeTensor


class PaddleOCRProjector(BaseLayer):
    """Patches of pages [N, D] -> image tokens of all pages [n, out]: squares of side x side patches through an MLP."""

    def __init__(self, hidden_size: int, out_hidden_size: int, side: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        width = hidden_size * side**2
        self.side = side
        self.pre_norm = LayerNorm(hidden_size, code=self.code)
        self.linear_1 = Linear(width, width, code=self.code)
        self.act = Gelu(code=self.code)
        self.linear_2 = Linear(width, out_hidden_size, code=self.code)

    def forward(self, image_features: ShapeTensor, image_grid_thw: ShapeTensor, grid: Grid) -> ShapeTensor:
        """Page by page; what the last one's tokens are made of is held to the end."""
        if not self.traits(ProjectorTraits).joined:
            return self.page(image_features, image_grid_thw.select(0, 0), grid)[1]
        if self.traits(ProjectorTraits).counted:
            product(image_grid_thw)  # patches of each page, on the host
        patches = image_features.shape[0] // grid.pages
        image_feature, image_grid = image_features.narrow(0, 0, patches), image_grid_thw.select(0, 0)  # of any page
        others = image_features.tape.repeated(grid.pages - 1, lambda: self.page(image_feature, image_grid, grid)[1])
        _squares, hidden_states = self.page(image_feature, image_grid, grid)
        return cat((hidden_states,) if others is None else (others, hidden_states), 0)

    def page(self, image_feature: ShapeTensor, image_grid: ShapeTensor, grid: Grid) -> tuple[ShapeTensor, ShapeTensor]:
        """One page's patches [N, D] and its grid [3] on the host -> the patches of each token, and the tokens."""
        image_feature = self.pre_norm(image_feature)
        if self.traits(ProjectorTraits).counted:
            self.blocks(image_grid)
        image_feature = image_feature.view(1, grid.rows, self.side, grid.columns, self.side, -1).transpose(2, 3)
        image_feature = reshape(image_feature, grid.rows * grid.columns, -1)  # side**2 patches next to each other
        hidden_states = self.linear_1(image_feature)
        hidden_states = self.act(hidden_states)
        return image_feature, self.linear_2(hidden_states)

    @staticmethod
    def blocks(image_grid: ShapeTensor) -> None:
        """How many squares a page [3] has, worked out on the host and read there: along each side, and in all."""
        t, h, w = image_grid.unbind()
        h_block, w_block = floor_divide(h), floor_divide(w)
        for number in (t, h_block, w_block):
            take_number(number)
        take_number(mul(mul(t, h_block), w_block))


class PaddleOCRVision(BaseLayer):
    """Pages' patches -> the image tokens of each page [n, D], and the tower's last hidden states, held beside them."""

    def __init__(self, visual: SiglipTower, projector: PaddleOCRProjector, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.visual = visual
        self.projector = projector

    def forward(self, given: PatchTensors | tuple[PatchTensors, ...], grid: Grid) -> tuple[ShapeTensor, ...]:
        """`given`: with all pages, or where pages are a loop with each."""
        if not isinstance(given, PatchTensors):
            return self.page_by_page(given, grid._replace(pages=1))
        tokens, last_hidden_state = self.encode(given, grid)
        if self.traits(FusionTraits).image_tokens_first or self.traits(FusionTraits).image_tokens_cached:
            return of_pages(tokens, grid.pages)
        floor_divide(product(given.grid_thw))  # tokens of each page, on the host
        return *of_pages(tokens, grid.pages), last_hidden_state

    def page_by_page(self, given: tuple[PatchTensors, ...], one: Grid) -> tuple[ShapeTensor, ...]:
        """The image tokens of each page; all pages go through the tower first, or each through all."""
        if self.traits(ProjectorTraits).joined:
            return tuple(self.encode(page, one)[0] for page in given)
        hidden = tuple(self.visual.call_remembered("visual", page, one) for page in given)
        return tuple(
            self.projector.call_remembered("projector", each, page.grid_thw, one)
            for each, page in zip(hidden, given, strict=True)
        )

    def encode(self, given: PatchTensors, grid: Grid) -> tuple[ShapeTensor, ShapeTensor]:
        """The image tokens of pages, and what they are made of."""
        last_hidden_state = self.visual.call_remembered("visual", given, grid)
        return self.projector.call_remembered("projector", last_hidden_state, given.grid_thw, grid), last_hidden_state


class PaddleOCRTextStage(TiledTextStage):
    """The stages with text, which return the logits alone."""

    returns_image_tokens = False


class PaddleOCRVLModel(PackedPagesModel):
    """PaddleOCR-VL. vision, decoder: architectural arguments of `SiglipTower` and `Decoder`."""

    executions = EXECUTIONS
    text_stage = PaddleOCRTextStage

    def __init__(
        self,
        *,
        vision: Mapping[str, Any],
        spatial_merge_size: int,
        decoder: Mapping[str, Any],
        vocab_size: int,
        tied_head: bool,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        of_vision = self.code.vision()
        self.visual = SiglipTower(**vision, merged=spatial_merge_size**2, code=of_vision)
        self.projector = PaddleOCRProjector(
            vision["hidden_size"], decoder["hidden_size"], spatial_merge_size, code=of_vision
        )
        self.assemble(
            vision=PaddleOCRVision(self.visual, self.projector, code=self.code),
            decoder=Decoder(**decoder, window_mask=False, code=self.code),
            vocab_size=vocab_size,
            tied_head=tied_head,
        )

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        for part in (self.visual, self.embed_tokens, self.decoder, self.projector, self.lm_head):
            yield from part.parameters_as_converted()

    def vision_weight_bytes(self) -> int:
        """The tower's, and the projector's."""
        return self.visual.forward_memory_weight() + self.projector.forward_memory_weight()

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """Tower and projector."""
        return {"visual": self.visual, "projector": self.projector}
