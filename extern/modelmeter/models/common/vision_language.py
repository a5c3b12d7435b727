"""`VisionLanguageModel`: image tokens put among a prompt's, a decoder over them, a head; its stages as walks.

A model of this kind states its vision pass, what that pass is given, and its parts; the stages are the same for all.
Source of the walk: `…ForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, Unpack

from modelmeter.errors import ModelMeterError, near
from modelmeter.layers import BaseLayer, Embedding, LMHead, Settings, State, kv_bytes
from modelmeter.layers.code import EngineTraits
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.deepstack import Deepstack
from modelmeter.layers.decoder.multi_token import MultiTokenLayer
from modelmeter.models.common.drafting import DraftedStage
from modelmeter.models.common.stage_cost import STAGES
from modelmeter.operators import argmax, cat, compare, div, gather, masked_scatter, mul, sum_all, to
from modelmeter.shape_tensor import ShapeTensor, Tape
from modelmeter.walk import Call, OperatorRecord, Walk

#: the head over all positions of a step whose proposals are held against what the model says itself
VERIFIED: Final = "verified"


@dataclass(frozen=True, kw_only=True)
class StageTraits:
    """What code does around the decoder where code bases differ; the defaults are transformers'."""

    head: str = "last"
    """The positions that the head computes unless told otherwise: last or all."""
    logits_to_float32: bool = False
    """The logits are converted to float32 after the head."""
    last_gathered: str = "never"
    """Where the rows of the last positions are copied out by index: never, prompts, or always."""
    one_image: bool = False
    """The code takes one image with each prompt; otherwise as many as its placeholders are of."""
    token_dtype: str | None = None
    """The type of the next tokens, found on the device as the largest logits; otherwise logits are all that is made."""


class LayerCost(NamedTuple):
    """A layer's share of a stage: its path, its layer (None: the operators between the layers) and its walk."""

    path: str
    layer: BaseLayer | None
    walk: Walk | OperatorRecord


class TextStage(BaseLayer):
    """Token ids [B, T] over the cache, with images or without -> logits, and the image tokens where they outlive it."""

    #: whether the image tokens are part of what the model returns
    returns_image_tokens: ClassVar[bool] = True
    #: whether they are as one tensor of all pages; otherwise each page's by themselves
    pages_joined: ClassVar[bool] = False
    #: whether the logits are divided by a number
    logits_divided: ClassVar[bool] = False
    #: items of vision, pages as a rule, that each prompt has if it has any
    items: int = 1
    #: whether the masks of placeholders are held by name while the decoder runs; otherwise they die before
    masks_held: ClassVar[bool] = True

    def __init__(self, model: VisionLanguageModel, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.embed_tokens = model.embed_tokens
        self.vision = model.vision
        self.decoder = model.decoder
        self.lm_head = model.lm_head
        for part, name in ((self.vision, "vision"), (self.decoder, ""), (self.lm_head, "lm_head")):
            part.name = name

    def forward(
        self,
        input_ids: ShapeTensor,
        images: tuple[Any, ...],
        states: tuple[State, ...],
        experts_hit: int | Fraction,
        head: str,
    ) -> tuple[ShapeTensor, ...]:
        """`images`: what the vision pass is given, nothing for a prompt without images."""
        hidden_states, image_hidden_states = self.run(input_ids, images, states, experts_hit)
        if head == "none":
            return (hidden_states, *image_hidden_states)
        return (self.scored(hidden_states, head), *image_hidden_states)

    def scored(self, hidden_states: ShapeTensor, head: str) -> ShapeTensor:
        """The logits of hidden states [B, T, D], or the next tokens."""
        kept = hidden_states
        if head == "last":
            kept = self.last(hidden_states)
        elif head == VERIFIED:
            kept = self.all_rows(hidden_states)
        logits = self.lm_head.call_remembered("lm_head", kept)
        if self.logits_divided and not self.traits(EngineTraits).at_its_best:  # which has the number in a weight
            logits = div(logits)
        if self.traits(StageTraits).logits_to_float32:
            logits = to(logits, "float32")
        token_dtype = self.traits(StageTraits).token_dtype
        return logits if token_dtype is None else to(argmax(logits), token_dtype)

    def all_rows(self, hidden_states: ShapeTensor) -> ShapeTensor:
        """All positions of [B, T, D], copied where an engine takes rows by their index."""
        if self.traits(StageTraits).last_gathered != "always":
            return hidden_states
        batch, tokens, width = hidden_states.shape
        index = hidden_states.tape.input((batch * tokens,), "int64")  # the engine brings it
        rows = gather(hidden_states.view(-1, width), batch * tokens, aten="aten.index.Tensor", index=index)
        return rows.view(batch, tokens, width)

    def last(self, hidden_states: ShapeTensor) -> ShapeTensor:
        """The last positions of [B, T, D], [B, 1, D]."""
        batch, tokens, width = hidden_states.shape
        gathered = self.traits(StageTraits).last_gathered
        if gathered == "always" or (gathered == "prompts" and tokens > 1):
            index = hidden_states.tape.input((batch,), "int64")  # the engine brings it
            return gather(hidden_states.view(-1, width), batch, 1, aten="aten.index.Tensor", index=index)
        return hidden_states.narrow(1, tokens - 1, tokens)

    def run(
        self,
        input_ids: ShapeTensor,
        images: tuple[Any, ...],
        states: tuple[State, ...],
        experts_hit: int | Fraction,
    ) -> tuple[ShapeTensor, tuple[ShapeTensor, ...]]:
        """Embedding, vision, decoder: the last hidden states, and the image tokens."""
        inputs_embeds = self.embed_tokens(input_ids)
        handed_on: tuple[ShapeTensor, ...] = ()
        deepstack: Deepstack | None = None
        if images:
            outputs = self.vision.call_remembered("", *images)
            pooled = outputs[: self.items * input_ids.shape[0]]
            image_features = self.joined(pooled)
            beside = self.beside(outputs[len(pooled) :], len(pooled))
            masks = self.placeholder_masks(input_ids)
            # the image's features are held by name while the decoder runs, and mostly the masks
            inputs_embeds = masked_scatter(inputs_embeds, masks[0], image_features)
            deepstack = self.deepstack(beside, masks[0], len(pooled))
            if not self.masks_held:
                del masks
            if self.returns_image_tokens:
                handed_on = (image_features,) if self.pages_joined else pooled
        return self.decoder.call_remembered("", inputs_embeds, states, experts_hit, deepstack), handed_on

    def beside(self, outputs: tuple[ShapeTensor, ...], pages: int) -> tuple[ShapeTensor, ...]:
        """What the code makes of vision's outputs behind each page's image tokens before it seeks placeholders."""
        return outputs

    @property
    def levels(self) -> int:
        """How many of the decoder's layers features of image tokens are added after."""
        return 0

    def deepstack(self, outputs: tuple[ShapeTensor, ...], mask: ShapeTensor, pages: int) -> Deepstack | None:
        """What is added in the decoder's first layers. outputs: what `beside` gives."""
        return None

    def joined(self, pooled: tuple[ShapeTensor, ...]) -> ShapeTensor:
        """The image tokens of all pages as one tensor, of each page's, which the vision pass returns first."""
        return cat(pooled, 0)

    def placeholder_masks(self, input_ids: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """Which positions [B, T, 1] are image tokens, and what is made and held beside that."""
        return (placeholder_mask(input_ids),)


def placeholder_mask(input_ids: ShapeTensor) -> ShapeTensor:
    """Which positions are image tokens [B, T, 1]; their number is held against that of the features."""
    special_image_mask = compare("aten.eq.Scalar", input_ids)
    n_image_tokens = sum_all(special_image_mask)
    special_image_mask = special_image_mask.unsqueeze(2)
    compare("aten.eq.Scalar", mul(n_image_tokens))
    return special_image_mask


class VisionLanguageModel(BaseLayer):
    """A vision pass, an embedding, a decoder and a head. Stages are sums over the layers that run in them.

    A model makes its own parts, then `assemble`s them.
    """

    #: what the parts of vision are called in words, where that is not their own name
    part_titles: ClassVar[Mapping[str, str]] = MappingProxyType({})
    #: how the stages with text run
    text_stage: ClassVar[type[TextStage]] = TextStage
    #: positions of a decode step
    rows: int = 1
    #: the pass with proposals, of a model whose further layer makes them
    drafted: DraftedStage | None = None

    def assemble(self, *, vision: BaseLayer, decoder: Decoder, vocab_size: int, tied_head: bool = False) -> None:
        """Put the parts together.

        vision: the layer whose pass makes each page's image tokens, the pages' first among what it returns. vocab_size:
        rows of the embedding and of the head. tied_head: the head's weight is the embedding's.
        """
        self.decoder = decoder
        width = decoder.norm.weight.shape[0]
        self.embed_tokens = Embedding(vocab_size, width, tied=tied_head, split=True, code=self.code)
        self.lm_head = LMHead(width, vocab_size, self.embed_tokens if tied_head else None, code=self.code)
        self.vision = vision
        self.text = self.text_stage(self, code=self.code)

    def multi_token_layer(self) -> MultiTokenLayer | None:
        """The model's further layer that predicts one more token, made anew; None: it has none."""
        return None

    def speculate(self, rows: int, layer: MultiTokenLayer | None) -> None:
        """Have decode steps run so many positions. layer: what proposes them; None: that costs the device nothing."""
        self.rows = rows
        if layer is not None:
            self.mtp = layer
            self.drafted = DraftedStage(self, layer, rows - 1, code=self.code)

    @property
    def stage(self) -> TextStage | DraftedStage:
        """How the stages with text run."""
        return self.text if self.drafted is None else self.drafted

    @property
    def further(self) -> int:
        """Layers with a cache behind the decoder's own."""
        return 0 if self.drafted is None else 1

    def children(self) -> Iterator[tuple[str, BaseLayer]]:
        """The parts with parameters, the decoder's under their checkpoint names; stages only call them."""
        for name, child in super().children():
            if name == "decoder":
                yield from child.children()
            elif name not in ("vision", "text", "drafted"):
                yield name, child

    def images(self, tape: Tape, geometry: Any) -> tuple[Any, ...]:
        """What the vision pass is given for pages of this geometry, a workload's word: pixels, and how they lie."""
        raise ModelMeterError(f"{type(self).__name__} states no vision pass.")

    def vision_weight_bytes(self) -> int:
        """Bytes of the parameters that the vision stage needs."""
        raise ModelMeterError(f"{type(self).__name__} states no vision pass.")

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """The layers of the vision stage whose costs are told apart, by the name that they are called by."""
        return {}

    # -- walks of the stages ------------------------------------------------------------------------------------------

    def vision_walk(self, geometry: Any, tape: Tape | None = None) -> Walk:
        """The vision stage of pages of this geometry."""
        tape = tape or Tape()
        self.run_vision(tape, geometry)
        return only_walk(tape)

    def run_vision(self, tape: Tape, geometry: Any) -> None:
        """The vision stage on a tape."""
        self.vision.call_remembered("", *self.images(tape, geometry))

    def prefill_walk(
        self,
        batch: int,
        seq_len: int,
        geometry: Any | None,
        experts_hit: int | Fraction,
        head: str,
        tape: Tape | None = None,
        cached: int | None = None,
    ) -> tuple[Walk, int, int]:
        """The prompt's pass, images included if there are any.

        And the bytes of the cache it was given, of `cached` positions before these, and of the one it leaves.
        """
        tape = tape or Tape()
        states = None if cached is None else self.given_cache(tape, batch, cached, 0)
        before = held_bytes(states or ())
        states = self.run_prefill(tape, batch, seq_len, geometry, experts_hit, head, states)
        return only_walk(tape), before, held_bytes(states)

    def run_prefill(
        self,
        tape: Tape,
        batch: int,
        seq_len: int,
        geometry: Any | None,
        experts_hit: int | Fraction,
        head: str,
        states: tuple[State, ...] | None = None,
    ) -> tuple[State, ...]:
        """The prompt's pass on a tape: the cache that it fills, or that it goes on with, `states`."""
        images = () if geometry is None else self.images(tape, geometry)
        if states is None:
            states = self.decoder.empty_cache(self.further)
        input_ids = tape.input((batch, seq_len), "int64")
        self.stage.call_remembered("", input_ids, images, states, experts_hit, head)
        return states

    def decoder_walk(self, batch: int, seq_len: int, experts_hit: int | Fraction) -> Walk:
        """The decoder alone over a prompt of embeddings."""
        tape = Tape()
        states = self.decoder.empty_cache()
        width = self.decoder.norm.weight.shape[0]
        self.decoder.call_remembered("", tape.input((batch, seq_len, width), self.dtype), states, experts_hit)
        return only_walk(tape)

    def decoder_step_walk(self, batch: int, context: int, experts_hit: int | Fraction) -> tuple[Walk, int]:
        """The decoder alone over one embedding with `context` tokens before it; the bytes of the cache it was given."""
        tape = Tape()
        states = self.decoder.given_cache(tape, batch, context)
        before = held_bytes(states)
        width = self.decoder.norm.weight.shape[0]
        self.decoder.call_remembered("", tape.input((batch, 1, width), self.dtype), states, experts_hit)
        return only_walk(tape), before

    def decode_walk(
        self,
        batch: int,
        context: int,
        experts_hit: int | Fraction,
        head: str,
        tape: Tape | None = None,
        generated: int = 0,
    ) -> tuple[Walk, int, int]:
        """One step with `context` tokens before it, the last `generated` of them from steps.

        And the bytes of the cache it was given, and of the one it leaves.
        """
        tape = tape or Tape()
        states = self.given_cache(tape, batch, context, generated)
        before = held_bytes(states)
        self.run_decode(tape, states, batch, experts_hit, head)
        return only_walk(tape), before, held_bytes(states)

    def run_decode(
        self, tape: Tape, states: tuple[State, ...], batch: int, experts_hit: int | Fraction, head: str
    ) -> None:
        """One step on a tape, over the cache `states`."""
        if self.rows > 1 and head != "none":
            head = VERIFIED
        self.stage.call_remembered("", tape.input((batch, self.rows), "int64"), (), states, experts_hit, head)

    def given_cache(self, tape: Tape, batch: int, context: int, generated: int) -> tuple[State, ...]:
        """The cache that a step is given, of `context` positions, the last `generated` of them from steps."""
        return self.decoder.given_cache(tape, batch, context, generated, self.further)

    # -- stages as sums over layers ----------------------------------------------------------------------------------

    def _iter_layers(self, stage: str, walk: Walk) -> Iterator[LayerCost]:
        """The layers that ran in a stage's walk, in order, and the operators between them; together they are it."""
        if stage not in STAGES:
            raise ModelMeterError(f"{type(self).__name__}: stage {stage} is unknown; {near(stage, STAGES)}")
        parts: dict[str, BaseLayer] = {**self.vision_parts(), "lm_head": self.lm_head}
        for name, layer in self.decoder.layers.children():
            parts[f"layers.{name}"] = layer
        if self.drafted is not None:
            parts["mtp_block"] = self.drafted.layer.mtp_block
        yield from _leaves(walk, "", parts)


def only_walk(tape: Tape) -> Walk:
    """The walk of the call that a tape noted last."""
    call = tape.entries[-1]
    assert isinstance(call, Call)
    return call.walk


def held_bytes(states: Sequence[State]) -> int:
    """Bytes of the cache."""
    return sum(kv_bytes(state) for state in states)


def _leaves(walk: Walk, path: str, parts: Mapping[str, BaseLayer]) -> Iterator[LayerCost]:
    """Open a walk down to the named parts and to the operators outside them."""
    for entry in walk.entries:
        full = ".".join(name for name in (path, entry.path) if name)
        if isinstance(entry, OperatorRecord):
            yield LayerCost(full, None, entry)
            continue
        names = full.split(".")
        part = parts.get(full) or parts.get(names[-1])
        for _ in range(entry.times):
            if part is None:
                yield from _leaves(entry.walk, full, parts)
            else:
                yield LayerCost(full, part, entry.walk)
