"""The vision encoder that models of one family share: SAM, CLIP over its map, both side by side, a projector.

A page is one view of all of it, the global one, and tiles in a grid where it is cut; its tokens are those of the
tiles in the order of the page, a newline after each row, then the global view's, then a separator.

Source of the walk: `UnlimitedOcrVisionModel` and `UnlimitedOcrModel.get_image_features` of transformers 5.23; where
other code, or an engine at its best, runs the same network differently, a trait of the execution says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, ClassVar, Unpack

from modelmeter.checks import check_batch_size
from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, Conv2d, LayerList, LayerNorm, Settings, State, run_blocks
from modelmeter.layers.decoder.deepstack import Deepstack
from modelmeter.layers.vision.clip import ClipTraits, NoTPTransformer, NoTPTransformerBlock, VisionEmbeddings
from modelmeter.layers.vision.sam import Block, GridSize, Neck, PatchEmbed, SamTraits, resize
from modelmeter.layers.vision.tower import VisionTower, side_by_side
from modelmeter.models.common.vision_language import TextStage, VisionLanguageModel
from modelmeter.operators import (
    Parameter,
    add,
    cat,
    clone,
    compare,
    index_put,
    masked_scatter_in_place,
    nonzero,
    reshape,
    sum_all,
)
from modelmeter.shape_tensor import ShapeTensor, Tape
from modelmeter.units import ceil_div

#: patches a side that become one token: the strides of net_2 and net_3
DOWNSAMPLE_RATIO = 4


@dataclass(frozen=True, kw_only=True)
class FusionTraits:
    """What code does with a page's image tokens where code bases differ; the defaults are transformers'."""

    image_tokens_first: bool = False
    """A page's image tokens are made before the prompt is embedded, put among its rows, and dropped; otherwise they
    and what they were made from are held on."""
    image_tokens_cached: bool = False
    """A page's image tokens are made before the prompt is embedded and stay in a cache while it runs, and those of all
    pages are joined before they are put among its rows."""
    placeholders_sought: bool = False
    """The code seeks an image's places in the prompts and puts image tokens there by index; otherwise it is given a
    mask of the places and puts them under it."""
    embeddings_copied: bool = False
    """Every pass copies the embeddings of its tokens into a buffer of its own."""


@dataclass(frozen=True, kw_only=True)
class PageLoopTraits:
    """What code does that takes pages through vision one after another; the defaults: all pages' views are batches."""

    first: str = ""
    """The views that a page begins with: global or tiles; nothing: pages are no loop."""
    copied: tuple[str, ...] = ()
    """The views of a page whose pixels are copied before: global, tiles."""
    pages_summed: bool = False
    """The pixels of all global views are summed once, to see whether there is an image."""
    tiles_summed: bool = False
    """The pixels of a page's tiles are summed, to see whether there are any."""
    names_kept: bool = False
    """What was made of a page's views is kept by name to the page's end; otherwise their rows alone are."""
    output_copied: bool = False
    """A page's image tokens are copied once they are made."""


class SamEncoder(BaseLayer):
    """SAM encoder: pixels [B, 3, H, W] -> map [B, 1024, H/64, W/64] (the strided convolutions round up).

    batch_size: views. img_size: side of a view in pixels, or (height, width); a multiple of `patch_size`.
    pretrain_img_size: the side that the position tables were trained for.
    Counted: everything. Left out: a kernel's own scratch memory.
    """

    def __init__(
        self,
        *,
        batch_size: int = 1,
        img_size: int | Sequence[int] = 1024,
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_dim: int,
        out_chans: int,
        qkv_bias: bool,
        window_size: int,
        global_attn_indexes: Sequence[int],
        downsample_channels: Sequence[int],
        pretrain_img_size: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.code = self.code.vision()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        check_view_side(type(self).__name__, height, patch_size)
        check_view_side(type(self).__name__, width, patch_size)
        check_batch_size(type(self).__name__, batch_size)
        if embed_dim % num_heads:
            raise ModelMeterError(
                f"{type(self).__name__}: embed_dim={embed_dim} does not divide by num_heads={num_heads}."
            )
        grid = (pretrain_img_size // patch_size, pretrain_img_size // patch_size)
        self.patch_embed = PatchEmbed(in_chans, embed_dim, patch_size, code=self.code)
        self.pos_embed = self.parameter(1, *grid, embed_dim)
        windowed, over_all = (
            Block(embed_dim, num_heads, mlp_dim, qkv_bias=qkv_bias, window=window, grid=grid, code=self.code)
            for window in (window_size, 0)
        )
        over_all.mlp.remember_with(windowed.mlp)
        self.blocks = LayerList(
            [over_all if index in global_attn_indexes else windowed for index in range(depth)], code=self.code
        )
        self.neck = Neck(embed_dim, out_chans, code=self.code)
        middle, last = downsample_channels
        self.net_2 = Conv2d(out_chans, middle, 3, stride=2, padding=1, bias=False, code=self.code)
        self.net_3 = Conv2d(middle, last, 3, stride=2, padding=1, bias=False, code=self.code)
        self.bind((batch_size, in_chans, height, width))

    def interpolate_pos_encoding(self, grid: GridSize, tape: Tape) -> ShapeTensor:
        """The position table for a grid; resized in float32 where it was trained for another one."""
        pos_embed = self.pos_embed.on(tape)
        if pos_embed.shape[1:3] == grid:
            return pos_embed
        pos_embed = pos_embed.permute(0, 3, 1, 2)
        resized = resize(pos_embed, grid, self.dtype, table_kept=self.traits(SamTraits).resized_table_kept)
        return resized.permute(0, 2, 3, 1)

    def forward(self, pixel_values: ShapeTensor) -> ShapeTensor:
        """Pixels -> map."""
        # [B, 3, H, W] -> [B, h, w, D]; who runs the blocks holds each's input no longer than it needs it
        hidden_states = run_blocks(
            self.blocks, self.chain("add_positions", self.add_positions, self.patch_embed(pixel_values))
        )
        if self.traits(SamTraits).blocks_output_kept:
            return self.downsample(self.neck(hidden_states))
        hidden_states = self.neck(hidden_states)  # -> [B, 256, h, w]
        return self.downsample(hidden_states)

    def add_positions(self, hidden_states: ShapeTensor) -> ShapeTensor:
        """Patches [B, h, w, D] and the positions of their grid."""
        _, height, width, _ = hidden_states.shape
        return add(hidden_states, self.interpolate_pos_encoding((height, width), hidden_states.tape))

    def downsample(self, neck_output: ShapeTensor) -> ShapeTensor:
        """Two strided convolutions, [B, 256, h, w] -> [B, 1024, h/4, w/4]."""
        conv2_output = self.net_2(neck_output)
        if self.traits(SamTraits).map_cloned:
            return self.net_3(clone(conv2_output))  # type: ignore[no-any-return]
        return self.net_3(conv2_output)  # type: ignore[no-any-return]


class ClipEncoder(BaseLayer):
    """CLIP tower: SAM map [B, D, g, g] -> [B, g*g + 1, D].

    batch_size: views. img_size: side of a view in pixels, a multiple of 16; g = ceil(img_size / 64).
    num_positions: rows of the position table, the class token's included.
    The patch convolution never runs; where the code has its parameters, they are weights.
    """

    def __init__(
        self,
        *,
        batch_size: int = 1,
        img_size: int = 1024,
        patch_size: int = 16,
        hidden_size: int,
        num_layers: int,
        num_attention_heads: int,
        ffn_hidden_size: int,
        num_positions: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.code = self.code.vision()
        who = type(self).__name__
        check_view_side(who, img_size, patch_size)
        check_batch_size(who, batch_size)
        if hidden_size % num_attention_heads:
            raise ModelMeterError(
                f"{who}: hidden_size={hidden_size} does not divide by num_attention_heads={num_attention_heads}."
            )
        trained_grid = round((num_positions - 1) ** 0.5)
        if trained_grid**2 + 1 != num_positions:
            raise ModelMeterError(f"{who}: num_positions={num_positions} is not a square grid and a class token.")
        self.embeddings = VisionEmbeddings(hidden_size, trained_grid, code=self.code)
        self.pre_layrnorm = LayerNorm(hidden_size, code=self.code)
        block = NoTPTransformerBlock(hidden_size, num_attention_heads, ffn_hidden_size, code=self.code)
        self.transformer = NoTPTransformer(block, num_layers, code=self.code)
        grid = ceil_div(img_size // patch_size, DOWNSAMPLE_RATIO)
        self.bind((batch_size, hidden_size, grid, grid))

    def forward(self, patch_embeds: ShapeTensor) -> ShapeTensor:
        """The SAM map -> tokens, the class token first."""
        _, _, grid, grid_width = patch_embeds.shape
        if grid != grid_width:
            raise ModelMeterError(
                f"{type(self).__name__}: the SAM map is {grid} x {grid_width}; the model runs square views only, "
                "give img_size one side."
            )
        x = self.embeddings(patch_embeds)  # [B, D, g, g] -> [B, g*g + 1, D]
        hidden_states = self.pre_layrnorm(x)
        if not self.traits(ClipTraits).embeddings_kept:
            del x
        return self.transformer(hidden_states)  # type: ignore[no-any-return]


def check_view_side(who: str, side: object, patch_size: int) -> None:
    """Raise `ModelMeterError` unless a view's side is a positive multiple of the patch size."""
    if isinstance(side, bool) or not isinstance(side, int) or side < 1:
        raise ModelMeterError(f"{who}: img_size={side!r} is not a number of pixels; give a positive whole number.")
    if side % patch_size:
        below = side // patch_size * patch_size
        nearest = [str(size) for size in (below, below + patch_size) if size]
        raise ModelMeterError(
            f"{who}: img_size={side} is no multiple of patch_size={patch_size}; the nearest sizes that work are "
            f"{' and '.join(nearest)}."
        )


class TiledVision(BaseLayer):
    """Pages through vision, as batches: all global views, then all tiles, then page by page.

    global pixels [B, 3, s, s], tile pixels [B w h, 3, c, c] or None, and the grid (columns w, rows h) -> what the
    caller goes on holding: each page's image tokens first.
    """

    #: what the tiles' pass is called in paths
    tiles_name: ClassVar[str] = "tiles"

    def __init__(self, model: DeepEncoderModel, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.code = self.code.vision()
        self.projector = model.projector
        self.newline, self.separator = model.separators()
        self.tower = VisionTower(model.sam_model, model.vision_model, code=self.code)

    def forward(
        self, global_pixels: ShapeTensor, tile_pixels: ShapeTensor | None, grid: tuple[int, int]
    ) -> tuple[ShapeTensor, ...]:
        """Pixels -> each page's image tokens, and what is held beside them."""
        if self.traits(PageLoopTraits).first:
            return self.forward_by_page(global_pixels, tile_pixels, grid)
        if self.traits(FusionTraits).image_tokens_first:
            return self.forward_unheld(global_pixels, tile_pixels, grid)
        return self.forward_batched(global_pixels, tile_pixels, grid)

    def forward_unheld(
        self, global_pixels: ShapeTensor, tile_pixels: ShapeTensor | None, grid: tuple[int, int]
    ) -> tuple[ShapeTensor, ...]:
        """As batches; of all that, only each page's image tokens are left, made in one chain a page."""
        global_features = self.features("global", global_pixels)
        tile_features = None if tile_pixels is None else self.features(self.tiles_name, tile_pixels)
        newline, separator = self.newline.on(global_pixels.tape), self.separator.on(global_pixels.tape)
        tiles = grid[0] * grid[1]
        pages = []
        for page in range(global_pixels.shape[0]):
            local = None if tile_features is None else tile_features.narrow(0, page * tiles, (page + 1) * tiles)
            views = (global_features.select(0, page), local, newline, separator)
            pages.append(self.chain("image_tokens", image_tokens, *views, grid))
        return tuple(pages)

    def forward_by_page(
        self, global_pixels: ShapeTensor, tile_pixels: ShapeTensor | None, grid: tuple[int, int]
    ) -> tuple[ShapeTensor, ...]:
        """Page after page; of each only its image tokens are left."""
        if self.traits(PageLoopTraits).pages_summed:
            sum_all(global_pixels)
        tiles = grid[0] * grid[1]
        pages = []
        for page in range(global_pixels.shape[0]):
            views = {"global": global_pixels.narrow(0, page, page + 1)}
            if tile_pixels is not None:
                views["tiles"] = tile_pixels.narrow(0, page * tiles, (page + 1) * tiles)
            pages.append(self.page_tokens(views, grid))
        return tuple(pages)

    def page_tokens(self, views: Mapping[str, ShapeTensor], grid: tuple[int, int]) -> ShapeTensor:
        """The image tokens of one page, of its `global` view and its `tiles`, if it has any."""
        loop = self.traits(PageLoopTraits)
        pixels = {name: clone(view) if name in loop.copied else view for name, view in views.items()}
        order = ("tiles", "global") if loop.first == "tiles" else ("global", "tiles")
        rows, kept = {}, []
        for name in order:
            if name not in pixels:
                continue
            if name == "tiles" and loop.tiles_summed:
                sum_all(pixels[name])
            made = self.view_rows(name, pixels[name], grid)
            rows[name] = made[0]
            if loop.names_kept:
                kept.append(made)
            del made
        separator = self.separator.on(views["global"].tape).unsqueeze(0)
        parts = [rows[name] for name in ("tiles", "global") if name in rows]
        tokens = cat([*parts, separator], 0)
        return clone(tokens) if loop.output_copied else tokens

    def view_rows(self, name: str, pixels: ShapeTensor, grid: tuple[int, int]) -> tuple[ShapeTensor, ...]:
        """Rows of a page's views with newlines behind them, one below another [n, D], and what has made them."""
        branch = self.tiles_name if name == "tiles" else name
        feature_map = self.tower.sam_model.call_remembered(f"{branch}.sam_model", pixels)
        tokens = self.tower.vision_model.call_remembered(f"{branch}.vision_model", feature_map)
        features = side_by_side(tokens, feature_map)
        features = self.projector.call_remembered(f"{branch}.projector", features)
        newline = self.newline.on(pixels.tape)
        columns, rows = grid if name == "tiles" else (1, 1)
        return with_newlines(in_grid(features, columns, rows), newline), feature_map, tokens

    def features(self, branch: str, pixels: ShapeTensor) -> ShapeTensor:
        """Views [B, 3, s, s] through tower and projector -> [B, q*q, D]."""
        hidden_states = self.tower.call_remembered(branch, pixels)
        return self.projector.call_remembered(f"{branch}.projector", hidden_states)  # type: ignore[no-any-return]

    def forward_batched(
        self, global_pixels: ShapeTensor, tile_pixels: ShapeTensor | None, grid: tuple[int, int]
    ) -> tuple[ShapeTensor, ...]:
        """All pages' global views, then all their tiles, then page by page."""
        global_hidden = self.tower.call_remembered("global", global_pixels)
        global_features = self.projector.call_remembered("global.projector", global_hidden)
        tile_hidden = tile_features = None
        if tile_pixels is not None:
            tile_hidden = self.tower.call_remembered(self.tiles_name, tile_pixels)
            tile_features = self.projector.call_remembered(f"{self.tiles_name}.projector", tile_hidden)
        tape = global_pixels.tape
        newline = self.newline.on(tape).unsqueeze(0).unsqueeze(0)
        separator = self.separator.on(tape).unsqueeze(0)
        pages = global_pixels.shape[0]
        columns, rows = grid
        all_features = []
        for page in range(pages):
            features = global_features.select(0, page)
            side = round(features.shape[0] ** 0.5)
            global_grid = features.view(side, side, -1)
            global_grid = cat((global_grid, newline.expand(side, 1, -1)), 1)
            global_flat = global_grid.view(-1, global_grid.shape[-1])
            if tile_features is None:
                all_features.append(cat((global_flat, separator), 0))
                continue
            tiles = columns * rows
            local_features = tile_features.narrow(0, page * tiles, (page + 1) * tiles)
            side = round(local_features.shape[1] ** 0.5)
            local_grid = local_features.view(rows, columns, side, side, -1)
            local_grid = reshape(local_grid.transpose(1, 2), rows * side, columns * side, -1)
            local_grid = cat((local_grid, newline.expand(rows * side, 1, -1)), 1)
            local_flat = local_grid.view(-1, local_grid.shape[-1])
            all_features.append(cat((local_flat, global_flat, separator), 0))
        held = (global_hidden,) if tile_hidden is None else (global_hidden, tile_hidden)
        return (*all_features, *held)


def in_grid(features: ShapeTensor, columns: int, rows: int) -> ShapeTensor:
    """The views of a grid [columns rows, s*s, D] as one view [rows s, columns s, D]."""
    side = round(features.shape[1] ** 0.5)
    views = features.view(rows, columns, side, side, -1).transpose(1, 2)
    return reshape(views, rows * side, columns * side, -1)


def with_newlines(features: ShapeTensor, newline: ShapeTensor) -> ShapeTensor:
    """A grid [rows, columns, D] and a newline [D] after every row -> [rows (columns + 1), D]."""
    rows, _, width = features.shape
    return cat((features, newline.view(1, 1, -1).expand(rows, 1, -1)), 1).view(-1, width)


def image_tokens(
    global_features: ShapeTensor,
    local_features: ShapeTensor | None,
    newline: ShapeTensor,
    separator: ShapeTensor,
    grid: tuple[int, int],
) -> ShapeTensor:
    """One page's tokens: of its tiles [columns rows, c*c, D], of its global view [g*g, D], and the separator [D]."""
    parts = [with_newlines(in_grid(global_features.unsqueeze(0), 1, 1), newline), separator.unsqueeze(0)]
    if local_features is not None:
        parts.insert(0, with_newlines(in_grid(local_features, *grid), newline))
    return cat(parts, 0)


class TiledTextStage(TextStage):
    """The stages with text; image tokens come first where the code runs so."""

    def run(
        self,
        input_ids: ShapeTensor,
        images: tuple[Any, ...],
        states: tuple[State, ...],
        experts_hit: int | Fraction,
    ) -> tuple[ShapeTensor, tuple[ShapeTensor, ...]]:
        """Embedding, vision, decoder: the last hidden states, and each page's image tokens."""
        if self.traits(FusionTraits).image_tokens_cached:
            return self.run_cached(input_ids, images, states, experts_hit), ()
        if images and self.traits(FusionTraits).image_tokens_first:
            given = self.embed_unheld(input_ids, self.vision.call_remembered("", *images))
            return self.decoder.call_remembered("", given[0], states, experts_hit, given[1]), ()
        return super().run(input_ids, images, states, experts_hit)

    def run_cached(
        self,
        input_ids: ShapeTensor,
        images: tuple[Any, ...],
        states: tuple[State, ...],
        experts_hit: int | Fraction,
    ) -> ShapeTensor:
        """The same, each page's image tokens in a cache while the decoder runs."""
        pages: tuple[ShapeTensor, ...] = self.vision.call_remembered("", *images) if images else ()
        given = self.embed_cached(input_ids, *pages)
        return self.decoder.call_remembered("", given[0], states, experts_hit, given[1])  # type: ignore[no-any-return]

    def embed_cached(self, input_ids: ShapeTensor, *pages: ShapeTensor) -> tuple[ShapeTensor, Deepstack | None]:
        """The prompts' embeddings with all pages' image tokens, and what is added in the decoder's first layers."""
        return self.embed_joined(input_ids, *pages), None

    def embed_unheld(
        self, input_ids: ShapeTensor, outputs: tuple[ShapeTensor, ...]
    ) -> tuple[ShapeTensor, Deepstack | None]:
        """The same of what vision gives, of which nothing but features is held."""
        pages = self.items * input_ids.shape[0]
        return self.embed_around(input_ids, *outputs[:pages]), self.features_at_best(input_ids, *outputs[pages:])

    def features_at_best(self, input_ids: ShapeTensor, *features: ShapeTensor) -> Deepstack | None:
        """Features of image tokens that an engine at its best adds in the decoder's first layers."""
        if not features:
            return None
        return Deepstack(input_ids.tape.input(features[0].shape[:1], "int64"), features)  # the engine brings it

    def embed_joined(self, input_ids: ShapeTensor, *pages: ShapeTensor) -> ShapeTensor:
        """The prompts' embeddings, and all pages' image tokens, joined, put among them, operator by operator."""
        traits = self.traits(FusionTraits)
        if pages and traits.placeholders_sought:
            joined = cat(pages, 0)
            places = compare("aten.isin.Tensor_Tensor", input_ids)
            sum_all(places)  # as many as there are image tokens?
            inputs_embeds: ShapeTensor = self.embed_tokens(input_ids)
            index = nonzero(places, joined.shape[0])
            index_put(inputs_embeds.view(-1, joined.shape[1]).narrow(0, 0, joined.shape[0]), index, joined)
        else:
            inputs_embeds = self.embed_tokens(input_ids)
            if pages:
                mask = input_ids.tape.input(input_ids.shape, "bool")  # the engine brings it
                masked_scatter_in_place(inputs_embeds, mask, cat(pages, 0))
        return clone(inputs_embeds) if traits.embeddings_copied else inputs_embeds

    def embed_around(self, input_ids: ShapeTensor, *pages: ShapeTensor) -> ShapeTensor:
        """The prompts' embeddings, and each page's image tokens put among them, all in one chain."""
        inputs_embeds: ShapeTensor = self.embed_tokens(input_ids)
        index = input_ids.tape.input((len(pages), pages[0].shape[0]), "int64")  # the engine brings it
        self.chain("put_image_tokens", put_rows, inputs_embeds, index, *pages)
        return inputs_embeds


def put_rows(inputs_embeds: ShapeTensor, index: ShapeTensor, *pages: ShapeTensor) -> None:
    """Each page's rows [n, D] put at [pages, n] of [B, T, D]; n rows are written, whichever they are."""
    of_prompt = len(pages) // inputs_embeds.shape[0]
    for page, rows in enumerate(pages):
        index_put(inputs_embeds.select(0, page // of_prompt).narrow(0, 0, rows.shape[0]), index.select(0, page), rows)


class DeepEncoderModel(VisionLanguageModel):
    """A model with this vision encoder, whose parts are called `sam_model`, `vision_model` and `projector`.

    A model makes these and its two separators, and a decoder, then `assemble`s them with a `TiledVision`.
    """

    text_stage = TiledTextStage
    vision: TiledVision
    sam_model: SamEncoder
    vision_model: ClipEncoder
    projector: BaseLayer

    def separators(self) -> tuple[Parameter, Parameter]:
        """What ends a row of tokens, and what ends the image."""
        raise ModelMeterError(f"{type(self).__name__} states no separators.")

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        for part in (self.sam_model, self.vision_model, self.projector, self.embed_tokens, self.decoder):
            yield from part.parameters_as_converted()
        yield from (*self.separators(), *self.lm_head.parameters_as_converted())

    def vision_weight_bytes(self) -> int:
        """Bytes of the parameters that the vision stage needs."""
        parts = (self.sam_model, self.vision_model, self.projector)
        return sum(each.nbytes for each in self.separators()) + sum(part.forward_memory_weight() for part in parts)

    part_titles = MappingProxyType({"sam_model": "SAM", "vision_model": "CLIP"})

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """SAM, CLIP and the projector, each called for the global views and for the tiles."""
        return {"sam_model": self.sam_model, "vision_model": self.vision_model, "projector": self.projector}
