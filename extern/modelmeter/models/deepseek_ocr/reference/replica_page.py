"""A whole page through the replica of the published code: vision, prefill and every decode step, measured.

The same questions as `page.PageReference` answers for transformers, with the same inputs: what the published
preprocessing makes of a page. The image tokens that vision makes are held against the places kept for them, which is
what `masked_scatter_` would check by value.

    reference = ReplicaPageReference()
    inputs = reference.inputs(PageGeometry(pages=1, global_side=1024, crop_side=640, columns=2, rows=3))
    stage, cache = reference.prefill(inputs, experts_hit=64, head="all")
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modelmeter.errors import ModelMeterError, near
from modelmeter.models.common.reference.deep_encoder_names import place
from modelmeter.models.deepseek_ocr.reference.architecture import ARCHITECTURE
from modelmeter.models.deepseek_ocr.reference.page import PageGeometry, placeholder_tokens
from modelmeter.models.deepseek_ocr.reference.replica import CausalModel, ReplicaCache
from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.measurement import Measurement, measure
from modelmeter.reference.whole_page import LOGITS_TO_KEEP


@dataclass(frozen=True, kw_only=True)
class ReplicaInputs:
    """What the replica is called with for some pages, on the meta device, and the places kept for image tokens."""

    token_ids: Tensor
    images: Sequence[tuple[Tensor, Tensor]]
    image_mask: Tensor | None
    grids: Sequence[tuple[int, int]]
    placeholders: int


class ReplicaPageReference:
    """The replica's whole model on the meta device, in inference, without autocast."""

    def __init__(self, dtype: str = "bfloat16", attention: str = "flash", **architecture: int) -> None:
        choice("attention", attention, ATTENTION)
        self.dtype = choice("dtype", dtype, DTYPES)
        sizes = {**ARCHITECTURE, **architecture}
        with on_meta(dtype):
            self.model = CausalModel(sizes, eager=attention == "eager")
        self.model.eval()
        self.attention = attention
        self.roots: dict[str, nn.Module] = {"": self.model.model, "lm_head": self.model.lm_head}

    def check(self) -> None:
        """Refuse what the published code refuses."""
        if self.attention == "flash" and self.dtype == torch.float32:
            raise ModelMeterError(
                "reference: FlashAttention 2 takes half precision only; set runtime.attention=eager or another dtype."
            )

    def inputs(self, page: PageGeometry) -> ReplicaInputs:
        """Token ids, pixels, the mask of image tokens and the grid of crops of such pages."""
        grid = (page.columns, page.rows) if page.crops else (1, 1)
        places = placeholder_tokens(page.global_side, page.crop_side, grid, page.crops)
        positions = places + page.prompt_tokens
        if page.crops:
            crops = self._pixels(page.crops, page.crop_side)
        else:  # zeros, made without a type
            side = page.base_size or page.global_side
            crops = torch.empty(1, 3, side, side, dtype=torch.float32, device="meta")
        return ReplicaInputs(
            token_ids=torch.empty(page.pages, positions, dtype=torch.long, device="meta"),
            images=[(crops, self._pixels(1, page.global_side))] * page.pages,
            image_mask=torch.empty(page.pages, positions, dtype=torch.bool, device="meta"),
            grids=[grid] * page.pages,
            placeholders=places,
        )

    def _pixels(self, views: int, side: int) -> Tensor:
        return torch.empty(views, 3, side, side, dtype=self.dtype, device="meta")

    def vision(self, inputs: ReplicaInputs) -> Measurement:
        """The vision part alone, page after page."""

        def call() -> None:
            held = self.model.model(None, inputs.images, None, inputs.grids, None)
            made = int(held[0].shape[0])
            if made != inputs.placeholders:
                raise ModelMeterError(
                    f"reference: the replica made {made} image tokens for {inputs.placeholders} places in the prompt."
                )

        model = self.model.model
        modules = (model.sam_model, model.vision_model, model.projector)
        return measure(self.roots, call, weights=[*modules, model.image_newline, model.view_seperator])

    def prefill(
        self, inputs: ReplicaInputs, *, experts_hit: int, head: str = "all"
    ) -> tuple[Measurement, ReplicaCache]:
        """The prompt's pass, its image included, and the cache that it filled."""
        cache = ReplicaCache()
        self.model.model.decoder.declare_experts_hit(experts_hit)
        arguments = (inputs.token_ids, inputs.images, inputs.image_mask, inputs.grids, cache, self._head(head))
        return measure(self.roots, lambda: self.model(*arguments), cached=lambda: cache.tensors), cache

    def decode_step(self, cache: ReplicaCache, *, pages: int = 1, experts_hit: int, head: str = "all") -> Measurement:
        """One step over the cache, which grows by one position."""
        self.model.model.decoder.declare_experts_hit(experts_hit)
        token = torch.empty(pages, 1, dtype=torch.long, device="meta")
        arguments = (token, (), None, (), cache, self._head(head))
        return measure(self.roots, lambda: self.model(*arguments), cached=lambda: cache.tensors)

    def _head(self, head: str) -> str:
        if head not in LOGITS_TO_KEEP:
            raise ModelMeterError(f"reference: head={head} is unknown; {near(head, LOGITS_TO_KEEP)}")
        return head

    def place(self, path: str, run: int, *, crops: bool) -> str:
        """Where an operator stands in the cost model's walks, by its module's path and run."""
        return place(replica_path(path), run, self._branches(crops))

    @staticmethod
    def _branches(crops: bool) -> Sequence[str]:
        """In the order of the published code: a page's crops run before its global view."""
        return ("crops", "global") if crops else ("global",)


def replica_path(path: str) -> str:
    """The published path of a module of the replica, which has a decoder that the checkpoint has no name for.

    The projector is a module around its one layer, which is where it computes.
    """
    if path == "projector":
        return "projector.layers"
    return "" if path == "decoder" else path.removeprefix("decoder.")
