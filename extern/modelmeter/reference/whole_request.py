"""A request of a whole model on the meta device: several pages in one prompt, behind a system prompt, or over a cache.

A model's `Whole` says what the preprocessing makes of pages with a prompt each; here the same pages, as many as all
requests have, are put into the prompts of these. A prefix that is in the cache already is so many positions that the
library's own cache holds before the pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from modelmeter.reference.measurement import Measurement
from modelmeter.reference.whole_page import Whole


class WholeRequest:
    """A cost model's requests beside its whole model; `models.common.contract.WholeModel`. whole: a model's `Whole`."""

    def __init__(self, cost_model: Any, whole: Whole) -> None:
        self.cost_model = cost_model
        self.whole = whole

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of its figures must know."""
        return self.whole.notes

    def check(self) -> None:
        """Refuse what cannot be measured."""
        self.whole.check()

    def inputs(self, layout: Any, cached: int = 0) -> Any:
        """What the preprocessing makes of the requests' pages, and their prompts but for the positions in the cache."""
        model, request = self.cost_model, self.cost_model.request
        apart = copy(self.whole)
        apart.cost_model = _pages_apart(model, model.prompt_of(layout) - cached)
        inputs = apart.inputs(layout)
        if request.pages == 1 or model.prompt_is_one_item:
            return inputs
        token_ids = _joined(inputs.token_ids, request.pages, inputs.image_tokens, self.whole.page)
        return replace(inputs, token_ids=token_ids, image_tokens=request.pages * inputs.image_tokens)

    def vision(self, inputs: Any) -> Measurement:
        """The vision stage."""
        with self._features_by_request():
            return self.whole.vision(inputs)

    def prefill(self, inputs: Any, *, experts_hit: int, head: str, cached: int = 0) -> tuple[Measurement, Any]:
        """The prompts' pass, over so many positions of a cache before them, and the cache that it leaves."""
        with self._features_by_request(), self._caches_filled(cached):
            return self.whole.prefill(inputs, experts_hit=experts_hit, head=head)

    def decode_step(self, cache: Any, *, experts_hit: int, head: str) -> Measurement:
        """One step of all requests."""
        return self.whole.decode_step(cache, experts_hit=experts_hit, head=head)

    def skip(self, cache: Any, steps: int) -> None:
        """Steps that nobody measures."""
        self.whole.skip(cache, steps)

    def positions(self, cache: Any) -> int:
        """As the cache itself says."""
        return self.whole.positions(cache)

    def place(self, path: str, run: int, layout: Any) -> str:
        """Where an operator stands in the walks of such pages."""
        return self.whole.place(path, run, layout)

    def parts(self, source: Mapping[str, Any]) -> Any:
        """The parts of vision one by one."""
        return self.whole.parts(source)

    @contextmanager
    def _features_by_request(self) -> Iterator[None]:
        """Hold the features of all pages of a prompt against its placeholders; a model tells those of each page."""
        page = self.whole.page
        if self.cost_model.request.pages == 1:
            yield
            return
        check = page.check_features

        def check_together(inputs: Any, made: Sequence[int]) -> None:
            each = len(made) // inputs.token_ids.shape[0]
            check(inputs, [sum(made[start : start + each]) for start in range(0, len(made), each)])

        with patch.object(page, "check_features", check_together):
            yield

    @contextmanager
    def _caches_filled(self, cached: int) -> Iterator[None]:
        """Have the cache that a pass begins with hold so many positions; those made within it are others."""
        make, left = DynamicCache.__init__, [cached] if cached else []

        def filled(cache: DynamicCache, *arguments: Any, **named: Any) -> None:
            make(cache, *arguments, **named)
            if left:
                self._fill(cache, left.pop())

        with patch.object(DynamicCache, "__init__", filled):
            yield

    def _fill(self, cache: DynamicCache, positions: int) -> None:
        """Have every layer of a cache hold so many positions of all requests, by the library's own update."""
        decoder, dtype = self.cost_model.model.decoder, self.whole.page.dtype
        shape = (self.cost_model.batch_size, decoder.kv_heads, positions, decoder.head_dim)
        for layer in range(len(decoder.layers)):
            keys, values = (torch.empty(shape, dtype=dtype, device="meta") for _ in range(2))
            cache.update(keys, values, layer)


def _pages_apart(cost_model: Any, prompt_tokens: int) -> Any:
    """The model of all its requests' items of vision, each with a prompt of its own."""
    joined = cost_model.prompt_is_one_item
    runtime = replace(
        cost_model.config.runtime,
        batch_size=cost_model.batch_size if joined else cost_model.pages_at_once,
        pages_per_request=cost_model.request.pages if joined else 1,
        system_prompt_tokens=0,
        prefix_cached=0.0,
        prompt_tokens=prompt_tokens,
        prompt=None,
    )
    return type(cost_model).restore(
        {**asdict(cost_model.config), "runtime": asdict(runtime)}, prompt_tokens=prompt_tokens
    )


def _joined(token_ids: Tensor, pages: int, image_tokens: int, page: Any) -> Tensor:
    """Prompts [B pages, T] of a page each as prompts [B, ...] with all placeholders of their pages, and one text."""
    prompts = token_ids.shape[0] // pages
    tokens = token_ids.shape[1] + (pages - 1) * image_tokens
    if token_ids.is_meta:
        return torch.empty(prompts, tokens, dtype=torch.long, device="meta")
    row = token_ids[0]
    places = row == page.config.image_token_id
    text = row[~places]
    placeholders = row[places].repeat(pages)
    return torch.cat((text[:1], placeholders, text[1:])).expand(prompts, tokens).contiguous()
