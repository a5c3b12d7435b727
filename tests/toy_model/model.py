"""The toy's layers: a tower over windows of patches, a product that makes tokens of them, a dense decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, LayerList, LayerNorm, Linear, Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.models.common.vision_language import VisionLanguageModel
from modelmeter.operators import add, cat, gelu, reshape, scaled_dot_product_attention
from modelmeter.shape_tensor import ShapeTensor, Tape
from tests.toy_model.executions import EXECUTIONS
from tests.toy_model.workload import WINDOW, Geometry


class Block(BaseLayer):
    """Attention within each window, then an MLP, each after a norm: patches [N, D] of pages -> [N, D]."""

    def __init__(self, width: int, inner: int, heads: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.heads = heads
        self.norm1 = LayerNorm(width, code=self.code)
        self.norm2 = LayerNorm(width, code=self.code)
        self.qkv = Linear(width, 3 * width, code=self.code)
        self.proj = Linear(width, width, code=self.code)
        self.fc1 = Linear(width, inner, code=self.code)
        self.fc2 = Linear(inner, width, code=self.code)

    def forward(self, x: ShapeTensor, geometry: Geometry) -> ShapeTensor:
        qkv = self.qkv(self.norm1(x))  # [N, D] -> [N, 3 D]
        x = add(x, self.proj(in_windows(x.tape, geometry, lambda patches: self.attend(qkv, patches))))
        return add(x, self.fc2(self.chain("gelu", gelu, self.fc1(self.norm2(x)))))

    def attend(self, qkv: ShapeTensor, patches: int) -> ShapeTensor:
        """One window, a part of qkv [N, 3 D] -> [patches, D]; where the part lies is of no consequence."""
        window = qkv.narrow(0, 0, patches).view(1, patches, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = window.unbind(0)  # [1, heads, patches, d] each
        return reshape(scaled_dot_product_attention(query, key, value).transpose(1, 2), patches, -1)


def in_windows(tape: Tape, geometry: Geometry, window: Callable[[int], ShapeTensor]) -> ShapeTensor:
    """The windows of pages, those of one size as one repeated call: whole ones, and less at the right and below."""
    pages, columns, rows = geometry
    (across, right), (down, below) = divmod(columns, WINDOW), divmod(rows, WINDOW)

    def row(height: int) -> tuple[Any, ...]:
        whole = tape.repeated(across, lambda: window(WINDOW * height))
        return whole, *((window(right * height),) if right else ())

    def page() -> tuple[Any, ...]:
        return tape.repeated(down, lambda: row(WINDOW)), *(row(below) if below else ())

    repeated = tape.repeated(pages, page)
    assert repeated is not None  # a page has a window or more
    return cat([repeated], 0)


class Tower(BaseLayer):
    """Patches [N, 3 p p] -> [N, D]."""

    def __init__(
        self, patch: int, width: int, inner: int, heads: int, depth: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.patch_embed = Linear(3 * patch * patch, width, code=self.code)
        self.blocks = LayerList([Block(width, inner, heads, code=self.code)] * depth, code=self.code)

    def forward(self, pixels: ShapeTensor, geometry: Geometry) -> ShapeTensor:
        x = self.patch_embed(pixels)
        for block in self.blocks:
            x = block(x, geometry)
        return x  # type: ignore[no-any-return]


class VisionStage(BaseLayer):
    """Pixels to the image tokens of each page; the parts are the model's."""

    def __init__(self, model: ToyModel, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.tower = model.tower
        self.merger = model.merger

    def forward(self, pixels: ShapeTensor, geometry: Geometry) -> tuple[ShapeTensor, ...]:
        tokens = self.merger.call_remembered("merger", self.tower.call_remembered("tower", pixels, geometry))
        each = geometry.columns * geometry.rows
        return tuple(tokens.narrow(0, page * each, (page + 1) * each) for page in range(geometry.pages))


class ToyModel(VisionLanguageModel):
    """The toy: what a model of its kind must state, and no more."""

    executions = EXECUTIONS

    def __init__(
        self,
        *,
        patch_size: int,
        vision: Mapping[str, Any],
        decoder: Mapping[str, Any],
        vocab_size: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.patch_values = 3 * patch_size**2
        sizes = (vision["hidden_size"], vision["intermediate_size"], vision["num_heads"], vision["depth"])
        self.tower = Tower(patch_size, *sizes, code=self.code)
        self.merger = Linear(vision["hidden_size"], decoder["hidden_size"], code=self.code)
        text = Decoder(**decoder, code=self.code)
        self.assemble(vision=VisionStage(self, code=self.code), decoder=text, vocab_size=vocab_size)

    def images(self, tape: Tape, geometry: Geometry) -> tuple[Any, ...]:
        """The pixels of all patches, and how they lie."""
        pages, columns, rows = geometry
        return tape.input((pages * columns * rows, self.patch_values), self.dtype), geometry

    def vision_weight_bytes(self) -> int:
        """The tower's, and the merger's."""
        return self.tower.forward_memory_weight() + self.merger.forward_memory_weight()

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """Tower and merger."""
        return {"tower": self.tower, "merger": self.merger}
