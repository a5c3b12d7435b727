"""A whole model of transformers on the meta device: vision, prefill and every decode step, measured.

The model is called as `generate` calls it, on what the library's processor makes of a page. `generate` drops an
attention mask that masks nothing, so none is given; it asks for the logits of the last position, or as `head` says.
The KV cache is the library's own `DynamicCache`.

Two things that `generate` does around the model are left out: it hands position ids in, which the model makes itself
when they are not given, and it encodes the image before the prompt is embedded, and keeps the features while it
decodes. What is measured is the model's own forward pass, pixels in.

A model's reference is a `WholePage` that builds the model and says what its inputs are (`page_inputs`); `Whole` puts it
beside a cost model, which is what the programs ask for (`models.common.contract.WholeModel`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from modelmeter.errors import ModelMeterError, near
from modelmeter.reference.building import cache_tensors
from modelmeter.reference.measurement import Measurement, measure

#: positions of which the head makes logits, and the library's name for it; none: the head does not run
LOGITS_TO_KEEP: Mapping[str, int | None] = {"last": 1, "all": 0, "none": None}


@dataclass(frozen=True, kw_only=True)
class PageInputs:
    """What the processor gives for some pages: token ids [B, T], and the image arguments on meta.

    image_tokens: placeholders of one page. token_ids: on meta, or with their values where the model's own check of
    them is made up for.
    """

    token_ids: Tensor
    image_tokens: int
    images: Mapping[str, Any]


@contextmanager
def values_unchecked(modeling: ModuleType) -> Iterator[None]:
    """Run without `torch_compilable_check`, which reads a value and so fails on the meta device.

    A model asks it whether the placeholders are as many as the image's features: who turns it off compares the
    features' shape with the number of placeholders instead.
    """
    with patch.object(modeling, "torch_compilable_check", lambda *_args, **_kwargs: None):
        yield


class WholePage:
    """transformers' whole model on the meta device, in inference.

    model: with `.model` and `.lm_head`. text: the decoder's configuration. modeling: the library's module that the
    model's classes stand in.
    """

    def __init__(self, model: Any, *, text: Any, dtype: torch.dtype, modeling: ModuleType) -> None:
        self.model = model.eval()
        self.text: Any = text
        self.dtype = dtype
        self.modeling = modeling
        self.roots: dict[str, nn.Module] = {"": model.model, "lm_head": model.lm_head}

    @property
    def parameter_count(self) -> int:
        """Distinct parameters."""
        return sum(each.numel() for each in self.model.parameters())

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The parts whose parameters the vision stage needs."""
        raise ModelMeterError(f"{type(self).__name__} states no vision stage.")

    def check(self) -> None:
        """Refuse a configuration of which the meta kernels would fail, or do what no GPU does."""

    # -- inputs -------------------------------------------------------------------------------------------------------

    def text_inputs(self, prompt_tokens: int, prompts: int = 1) -> PageInputs:
        """Prompts without an image."""
        return self.page_inputs(prompts, 0, prompt_tokens, {})

    def page_inputs(self, pages: int, image_tokens: int, prompt_tokens: int, images: Mapping[str, Any]) -> PageInputs:
        """So many placeholders and other tokens a page, and the image arguments."""
        token_ids = torch.empty(pages, image_tokens + prompt_tokens, dtype=torch.long, device="meta")
        return PageInputs(token_ids=token_ids, image_tokens=image_tokens, images=images)

    def pixels(self, views: int, side: int) -> Tensor:
        """Pixel values of `views` square views of `side` pixels."""
        return torch.empty(views, 3, side, side, dtype=self.dtype, device="meta")

    # -- stages -------------------------------------------------------------------------------------------------------

    def vision(self, inputs: PageInputs) -> Measurement:
        """The vision part alone, `get_image_features`: pixels -> the image tokens of each page."""
        made: list[int] = []

        def call() -> None:
            outputs = self.model.model.get_image_features(**inputs.images, return_dict=True)
            made.extend(features.shape[0] for features in outputs.pooler_output)

        measured = measure(self.roots, call, weights=self.vision_weights)
        self.check_features(inputs, made)
        return measured

    def prefill(
        self, inputs: PageInputs, *, experts_hit: int | None = None, head: str = "last"
    ) -> tuple[Measurement, DynamicCache]:
        """The prompt's pass, its image included, and the cache that it filled."""
        self.check()
        cache = DynamicCache(config=self.text)
        input_ids = inputs.token_ids.to("meta")
        made: list[int] = []

        def call() -> None:
            outputs = self._forward(head, input_ids=input_ids, past_key_values=cache, **inputs.images)
            if inputs.images:
                made.extend(self.features_of_pages(outputs.image_hidden_states, inputs.token_ids.shape[0]))

        measured = self._measure(call, cache, experts_hit)
        if inputs.images:
            self.check_features(inputs, made)
        return measured, cache

    def decode_step(
        self, cache: DynamicCache, *, pages: int = 1, experts_hit: int | None = None, head: str = "last"
    ) -> Measurement:
        """One step over the cache, which grows by one position, or moves on by one."""
        token = torch.empty(pages, 1, dtype=torch.long, device="meta")
        return self._measure(lambda: self._forward(head, input_ids=token, past_key_values=cache), cache, experts_hit)

    def features_of_pages(self, image_hidden_states: Any, pages: int) -> Sequence[int]:
        """How many image features the model made of each page; it hands on those of each by themselves."""
        return [features.shape[0] for features in image_hidden_states]

    def skip(self, cache: DynamicCache, steps: int, *, pages: int = 1) -> None:
        """Move a cache on by steps, by the library's own update, without running the layers."""
        shape = (pages, self.text.num_key_value_heads, 1, self.text.head_dim)
        for _ in range(steps):
            for layer in range(self.text.num_hidden_layers):
                keys, values = (torch.empty(shape, dtype=self.dtype, device="meta") for _ in range(2))
                cache.update(keys, values, layer)

    def _forward(self, head: str, **arguments: Any) -> Any:
        if head not in LOGITS_TO_KEEP:
            raise ModelMeterError(f"{type(self).__name__}: head={head} is unknown; {near(head, LOGITS_TO_KEEP)}")
        kept = LOGITS_TO_KEEP[head]
        if kept is None:
            return self.model.model(**arguments, use_cache=True, return_dict=True)
        return self.model(**arguments, use_cache=True, logits_to_keep=kept, return_dict=True)

    def check_features(self, inputs: PageInputs, made: Sequence[int]) -> None:
        """In place of the model's own check, which reads a value: one image feature for every placeholder."""
        if list(made) != [inputs.image_tokens] * inputs.token_ids.shape[0]:
            raise ModelMeterError(f"reference: the pages have {inputs.image_tokens} placeholders, and features {made}.")

    def _measure(self, call: Callable[[], object], cache: DynamicCache, experts_hit: int | None) -> Measurement:
        with values_unchecked(self.modeling):
            return measure(self.roots, call, cached=lambda: cache_tensors(cache), experts_hit=experts_hit)


class Whole:
    """A cost model beside the whole model of the same configuration; `models.common.contract.WholeModel`.

    page: a `WholePage`, or what answers as one does.
    """

    #: what torchinfo's total of parameters gets wrong: names of those that it counts twice, and not at all
    torchinfo_counts_twice: ClassVar[Sequence[str]] = ()
    torchinfo_leaves_out: ClassVar[Sequence[str]] = ()

    def __init__(self, cost_model: Any, page: Any) -> None:
        self.cost_model = cost_model
        self.page = page

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of its figures must know."""
        return ()

    def check(self) -> None:
        """Refuse what cannot be measured."""
        self.page.check()

    def inputs(self, layout: Any) -> Any:
        """What the published preprocessing makes of such pages."""
        raise ModelMeterError(f"{type(self).__name__} states no inputs.")

    def place(self, path: str, run: int, layout: Any) -> str:
        """Where an operator stands in the walks of such pages."""
        raise ModelMeterError(f"{type(self).__name__} states no places.")

    @property
    def published_unused(self) -> Mapping[str, tuple[str, int]]:
        """Parameters of the checkpoint that no module here has: by a key, what they are in words, and how many."""
        return {}

    def published_paths(self, path: str) -> tuple[str, ...]:
        """The published paths of a module of the whole model, N for a layer's number; none where they are its own."""
        return ()

    def parts(self, source: Mapping[str, Any]) -> Any:
        """The vision stage is compared as one, its FLOPs part by part; there are no modules of another source."""
        if source["name"] != "transformers":
            raise ModelMeterError(
                f"reference={source['name']}: this model has no such modules to measure; leave reference= out."
            )

    def vision(self, inputs: Any) -> Measurement:
        """The vision stage."""
        measured: Measurement = self.page.vision(inputs)
        return measured

    def prefill(self, inputs: Any, *, experts_hit: int, head: str) -> tuple[Measurement, Any]:
        """The prompt's pass, and the cache that it filled."""
        measured, cache = self.page.prefill(inputs, experts_hit=experts_hit, head=head)
        return measured, cache

    def decode_step(self, cache: Any, *, experts_hit: int, head: str) -> Measurement:
        """One step of all pages."""
        pages = self.cost_model.batch_size
        measured: Measurement = self.page.decode_step(cache, pages=pages, experts_hit=experts_hit, head=head)
        return measured

    def skip(self, cache: Any, steps: int) -> None:
        """Steps that nobody measures."""
        self.page.skip(cache, steps, pages=self.cost_model.batch_size)

    def positions(self, cache: Any) -> int:
        """As the cache itself says."""
        return int(cache.get_seq_length())
