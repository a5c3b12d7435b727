"""A whole model of transformers with real tensors and random weights: the passes that are timed.

The same model and inputs as a `WholePage` measures, on a device that computes. Random weights take as long as trained
ones, but for a router, whose choice of experts they make: near uniform.

    page.vision(); page.prefill(); page.decode_step()
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from modelmeter.errors import ModelMeterError, near
from modelmeter.reference.building import choice
from modelmeter.reference.whole_page import LOGITS_TO_KEEP, values_unchecked

#: how a pass is run
MODES = ("eager", "graph", "compile")


class DecodeSteps:
    """Decode steps of equal pages that all run over the same cache, as the first one after a prefill.

    tokens [B, 1]; keys and values of each layer [B, heads, context, width]. `forward` takes what the model takes.
    """

    def __init__(self, forward: Callable[..., object], cache: DynamicCache, tokens: Tensor) -> None:
        self._forward = forward
        self._cache = cache
        self._tokens = tokens
        self._layers: list[Any] = list(cache.layers)
        self._held = [dict(vars(layer)) for layer in self._layers]

    def rewind(self) -> None:
        """Drop what the last step added to the cache."""
        for layer, held in zip(self._layers, self._held, strict=True):
            vars(layer).update(held)  # a step puts other tensors in their place, and changes none

    def __call__(self) -> object:
        """One step."""
        self.rewind()
        return self._forward(input_ids=self._tokens, past_key_values=self._cache)

    def copied(self, pages: int, config: Any) -> "DecodeSteps":
        """Steps of `pages` times as many pages, each with a copy of this cache."""
        cache = DynamicCache(config=config)
        for number, held in enumerate(self._held):
            cache.update(held["keys"].repeat(pages, 1, 1, 1), held["values"].repeat(pages, 1, 1, 1), number)
        return DecodeSteps(self._forward, cache, self._tokens.repeat(pages, 1))


class _Told:
    """What transformers' loop gives tokens to: first the prompt's, then those of each step."""

    def __init__(self, each: Callable[[], None]) -> None:
        self._each = each
        self._prompt = True

    def put(self, _tokens: Tensor) -> None:
        """Take the tokens of one step."""
        if not self._prompt:
            self._each()
        self._prompt = False

    def end(self) -> None:
        """Nothing is left to do."""


class RealPage:
    """The model and one page's inputs on a device. Decode steps all run after the page's prefill, as its first one.

    model: with `.model` and `.lm_head`, in inference. text: the decoder's configuration. modeling: the library's module
    that the model's classes stand in. token_ids [B, T] and images: what the model is called with. head: positions of
    which logits are made, "last", "all" or "none".
    """

    def __init__(
        self,
        model: Any,
        *,
        text: Any,
        modeling: ModuleType,
        device: str,
        token_ids: Tensor,
        images: Mapping[str, Any],
        head: str = "last",
    ) -> None:
        self.kept: int | None = choice("head", head, LOGITS_TO_KEEP)
        self.model = model
        self.modeling = modeling
        self.device = device
        self._text = text
        self.token_ids = token_ids
        self._text_ids = torch.ones_like(token_ids)  # an input: it exists before the pass
        self.images = images
        cache = DynamicCache(config=text)
        with torch.no_grad():
            outputs = self._forward(input_ids=token_ids, past_key_values=cache, **images)
        if not torch.isfinite(outputs[0]).all():
            raise ModelMeterError("validate: the model with random weights gives values that are not finite.")
        tokens = torch.ones(token_ids.shape[0], 1, dtype=torch.long, device=device)
        self.steps = DecodeSteps(self._forward, cache, tokens)

    @property
    def context(self) -> int:
        """Positions before a decode step."""
        return self.token_ids.shape[1]

    def vision(self) -> object:
        """From pixels to image tokens."""
        return self.model.model.get_image_features(**self.images, return_dict=True)

    def prefill(self) -> object:
        """The prompt's pass, its image included, into a fresh cache."""
        cache = DynamicCache(config=self._text)
        return self._forward(input_ids=self.token_ids, past_key_values=cache, **self.images)

    def decode_step(self) -> object:
        """One step over the cache that the prefill left."""
        return self.steps()

    def steps_of(self, copies: int) -> DecodeSteps:
        """Decode steps of `copies` times as many pages at once, each with its own copy of the cache."""
        with torch.no_grad():
            return self.steps.copied(copies, self._text)

    def answer(self, pages: int, tokens: int, each: Callable[[], None]) -> None:
        """So many tokens of as many such pages at once, by transformers' own loop; `each` is called after every one.

        Tokens are on the host by then: the loop looks at each to see whether the answer ends.
        """
        images = {
            name: torch.cat([value] * pages) if isinstance(value, Tensor) else value * pages
            for name, value in self.images.items()
        }
        ids = self.token_ids.repeat(pages, 1)
        self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **images,
            do_sample=False,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            streamer=_Told(each),
        )

    def text_prefill(self) -> object:
        """The pass of a prompt as long as the page's, without an image: the decoder alone."""
        return self._forward(input_ids=self._text_ids, past_key_values=DynamicCache(config=self._text))

    def _forward(self, **arguments: Any) -> Any:
        if self.kept is None:
            return self.model.model(**arguments, use_cache=True, return_dict=True)
        return self.model(**arguments, use_cache=True, logits_to_keep=self.kept, return_dict=True)

    def stage(self, name: str, mode: str = "eager") -> Callable[[], object]:
        """A call that runs "vision", "prefill" or one "decode" step, eagerly, as a CUDA graph or compiled.

        A mode that cannot run this stage here raises `ModelMeterError` with the reason.
        """
        stages: dict[str, Callable[[], object]] = {
            "vision": self.vision,
            "prefill": self.prefill,
            "decode": self.decode_step,
        }
        call = choice("stage", name, stages)
        if mode not in MODES:
            raise ModelMeterError(f"validate: mode {mode} is unknown; {near(mode, MODES)}")
        if mode == "eager":
            return call  # type: ignore[no-any-return]
        try:
            return self._graph(call) if mode == "graph" else self._compiled(call)
        except Exception as error:  # of capture and of compilation, which have no common type
            reason = (str(error).splitlines() or [type(error).__name__])[0].strip()
            raise ModelMeterError(f"validate: {name} cannot run as mode={mode} here: {reason}") from error

    def _graph(self, call: Callable[[], object]) -> Callable[[], object]:
        """The pass, captured once; its tensors stay where the capture put them."""
        if self.device != "cuda":
            raise ModelMeterError("CUDA graphs need --device cuda.")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with values_unchecked(self.modeling), torch.no_grad():
            with torch.cuda.stream(side):
                for _ in range(3):
                    call()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                call()
        return graph.replay

    def _compiled(self, call: Callable[[], object]) -> Callable[[], object]:
        """The pass under `torch.compile`, compiled now: what it cannot take in, it runs eagerly."""
        compiled: Callable[[], object] = torch.compile(call)
        with torch.no_grad():
            compiled()
        return compiled
