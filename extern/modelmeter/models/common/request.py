"""What a request holds: a prefix that all requests begin with, so many pages, and the prompt's own text.

The prefix is the system prompt, `runtime.system_prompt_tokens` positions before the first image; an instruction that
stands before the images belongs to it. Several pages of one request, `runtime.pages_per_request`, go through vision
together, and their image tokens stand in one prompt, behind one another: prefill and decode run over all of it.

An engine that keeps the cache of prefixes computes a request whose prefix it has from there on, over the given cache.
It keeps whole blocks (`engine.block_size`). How many requests find their prefix no size tells:
`runtime.prefix_cached` declares that share, and every time that rests on it is labelled.

    >>> Request(pages=4, system_tokens=1000, hit_share=Fraction(9, 10), block_size=16).cached_tokens
    992
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Kind, Real, Said, Whole
from modelmeter.layers.code import EngineTraits, Execution
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.vision_language import StageTraits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from modelmeter.models.common.configuration import RuntimeSchema

#: pages that a request may have
MAX_PAGES: Final = 1024
#: positions that a system prompt may have
_MAX_TOKENS: Final = 2**30

SYSTEM_PROMPT_TOKENS: Final = "runtime.system_prompt_tokens"
PAGES_PER_REQUEST: Final = "runtime.pages_per_request"
PREFIX_CACHED: Final = "runtime.prefix_cached"

#: what the keys of a request may be
REQUEST_KINDS: Final[dict[str, Kind[Any]]] = {
    SYSTEM_PROMPT_TOKENS: Said(
        Whole(0, _MAX_TOKENS), "positions before the first image that all requests share; beside prompt_tokens"
    ),
    PAGES_PER_REQUEST: Said(Whole(1, MAX_PAGES), "pages of equal size in one prompt; their output tokens are together"),
    PREFIX_CACHED: Said(
        Real(Fraction(0), Fraction(1), "it is a share of the requests"),
        "share of requests that find the system prompt in the engine's prefix cache, in times and money: declared",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """pages: of one prompt. system_tokens: positions before them. hit_share: of requests that find these in the cache.

    block_size: tokens of a block of the engine's cache.
    """

    pages: int = 1
    system_tokens: int = 0
    hit_share: Fraction = Fraction(0)
    block_size: int = 1

    @classmethod
    def of(
        cls, runtime: RuntimeSchema, execution: Execution, executions: Iterable[Execution], block_size: int
    ) -> Request:
        """What the keys of `runtime` say; raises `ModelMeterError` where the execution does not run that."""
        share = Fraction(str(runtime.prefix_cached))
        found = cls(
            pages=runtime.pages_per_request,
            system_tokens=runtime.system_prompt_tokens,
            hit_share=share,
            block_size=block_size,
        )
        if found.pages > 1 and execution.traits(StageTraits).one_image:
            others = " or ".join(each.name for each in executions if not each.traits(StageTraits).one_image)
            raise ModelMeterError(
                f"runtime: pages_per_request={found.pages}, but the code of execution={execution.name} takes one image "
                f"with each prompt; leave it out, or take execution={others}."
            )
        if share and not keeps_prefixes(execution):
            others = " or ".join(each.name for each in executions if keeps_prefixes(each)) or "of another model"
            raise ModelMeterError(
                f"runtime: prefix_cached={float(share):g}, but execution={execution.name} keeps no prefixes; leave it "
                f"out, or take execution={others}."
            )
        if share and not found.cached_tokens:
            raise ModelMeterError(
                f"runtime: prefix_cached={float(share):g}, but system_prompt_tokens={found.system_tokens} fill no "
                f"block of the cache (engine.block_size={block_size}); declare {SYSTEM_PROMPT_TOKENS}, or leave it out."
            )
        return found

    @property
    def cached_tokens(self) -> int:
        """Positions of the prefix that an engine keeps: whole blocks."""
        return self.system_tokens // self.block_size * self.block_size

    def check_one_page(self, who: str) -> None:
        """Raise `ModelMeterError` where a request has several pages, for what is of one."""
        if self.pages > 1:
            raise ModelMeterError(
                f"{who}: {PAGES_PER_REQUEST}={self.pages}, and here every page is a request of its own; leave it at 1."
            )

    def settings(self) -> Iterator[tuple[str, object]]:
        """What differs from one page without a system prompt, by the names of overrides."""
        if self.system_tokens:
            yield SYSTEM_PROMPT_TOKENS, self.system_tokens
        if self.pages > 1:
            yield PAGES_PER_REQUEST, self.pages
        if self.hit_share:
            yield PREFIX_CACHED, float(self.hit_share)

    def assumptions(self) -> Iterator[Assumption]:
        """What of it is declared."""
        if self.system_tokens:
            yield Assumption(
                figure="system_prompt_tokens",
                label="system prompt declared",
                text=f"{SYSTEM_PROMPT_TOKENS}={self.system_tokens} positions before the first image, of every request",
            )
        if self.pages > 1:
            yield Assumption(
                figure="layout",
                label=f"{self.pages} pages a request",
                text=f"{PAGES_PER_REQUEST}={self.pages}: pages of equal size go through vision together and stand in "
                "one prompt; the stages, the prefill tokens and the output tokens are the request's, layout and image "
                "tokens those of one page",
            )
        if self.hit_share:
            yield Assumption(
                figure="seconds",
                label="prefix hits declared",
                text=f"{PREFIX_CACHED}={float(self.hit_share):g} of the requests find {self.cached_tokens} positions "
                f"of the system prompt (whole blocks of {self.block_size}) in the cache and compute the others over "
                "it; the time of a prefill is the mean of both, counts and peaks are those of a request that misses, "
                "and in the pool those that hit hold these blocks together (in a simulation each its own)",
            )


def keeps_prefixes(execution: Execution) -> bool:
    """Whether the code is an engine's, with a paged cache whose blocks outlive a request."""
    return execution.traits(DecoderTraits).kv_paged and not execution.traits(EngineTraits).at_its_best
