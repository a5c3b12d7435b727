"""SigLIP's encoder over square tiles, on shapes: its blocks, and the shuffle that makes fewer, wider tokens of its own.

Source of the walk: `Idefics3Encoder` and `GraniteDoclingEncoder` of transformers 5.23, whose blocks are CLIP's with
another activation, and the `pixel_shuffle` that both have.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from modelmeter.layers.vision.clip import NoTPFeedForward, NoTPTransformerBlock
from modelmeter.operators import Parameter, add, gather, gelu, reshape
from modelmeter.shape_tensor import WEIGHT, ShapeTensor


@dataclass(frozen=True, kw_only=True)
class SiglipTraits:
    """What code around such towers does where code bases differ; the defaults are transformers'."""

    tiles_known: bool = False
    """That every tile and every patch is real goes without asking: none is looked for, none is copied, and positions
    are rows of the table in their order."""
    positions_on_host: bool = False
    """Where the code works positions out of a mask: the host does, tile by tile, of numbers that the device counts, and
    they are copied there; and nobody asks whether a patch is masked. Otherwise the device does, for all tiles at once,
    and asks."""


class SiglipMLP(NoTPFeedForward):
    """fc2(gelu(fc1(x))), x [B, T, D] -> [B, T, D]; GELU by tanh, one kernel."""

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        hidden_states = self.fc1(hidden_states)
        hidden_states = self.chain("gelu", gelu, hidden_states)
        return self.fc2(hidden_states)  # type: ignore[no-any-return]


class SiglipEncoderLayer(NoTPTransformerBlock):
    """Pre-norm block, x [B, T, D] -> [B, T, D]."""

    feed_forward = SiglipMLP


def add_positions(embeddings: ShapeTensor, table: Parameter) -> ShapeTensor:
    """Rows of a table [L, D], looked up by numbers that a module keeps, on patches of tiles [N, T, D]."""
    position_ids = embeddings.tape.input((1, embeddings.shape[1]), "int64")
    position_ids.storage.kind = WEIGHT  # a buffer of the module
    rows = gather(table.on(embeddings.tape), *position_ids.shape, aten="aten.embedding.default", index=position_ids)
    return add(embeddings, rows)


def pixel_shuffle(x: ShapeTensor, scale_factor: int) -> ShapeTensor:
    """Squares of `scale_factor` x `scale_factor` patches of square tiles to one token each.

    x [B, T, D] -> [B, T / scale_factor^2, D scale_factor^2].
    """
    batch, patches, width = x.shape
    side = isqrt(patches)
    merged = side // scale_factor
    x = x.view(batch, side, side, width)
    x = x.view(batch, side, merged, width * scale_factor).permute(0, 2, 1, 3)
    x = reshape(x, batch, merged, merged, width * scale_factor**2).permute(0, 2, 1, 3)
    return reshape(x, batch, merged * merged, width * scale_factor**2)


def of_pages(tokens: ShapeTensor, pages: int) -> tuple[ShapeTensor, ...]:
    """Tokens of all pages' tiles, [N, n, D] or [N n, D], page by page."""
    by_page = tokens.view(pages, -1, tokens.shape[-1])
    return tuple(by_page.select(0, page) for page in range(pages))
