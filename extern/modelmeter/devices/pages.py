"""Pages as a device is given them: kinds of pages, how many there are of each, and what they say.

    >>> kinds = [PageKind(page=cost_model.page(1275, 1650), output_tokens={800: 0.7, 1500: 0.3}, count=12)]

`prepared` holds them against the model's limit and tells those apart whose output runs to it; weights and shares are
exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, Self, TypeVar

from modelmeter.errors import ModelMeterError
from modelmeter.walk import Walk

if TYPE_CHECKING:
    from modelmeter.models.common.engines import ClientSchema, EngineSchema, HostSchema
    from modelmeter.models.common.profile_run import ProfileRun
    from modelmeter.models.common.request import Request
    from modelmeter.models.common.runs import StepRun


# -- what is asked of a cost model ----------------------------------------------------------------------------------


class StageMemory(Protocol):
    """Bytes of one stage, as `StageCost` has them."""

    @property
    def weight_bytes(self) -> int:
        """Parameters resident."""
        ...

    @property
    def resident_peak_bytes(self) -> int:
        """The live set at its largest, the given cache included, weights not."""
        ...

    @property
    def kv_bytes(self) -> int:
        """Cache held at the end."""
        ...


class PageFigures(Protocol):
    """One page's prompt, image tokens included, and its prefill."""

    @property
    def seq_len(self) -> int:
        """Positions before the first output token."""
        ...

    @property
    def prefill(self) -> StageMemory:
        """The pass that yields the first token, vision included."""
        ...

    def passes(self, output_tokens: int) -> Sequence[tuple[Self, int]]:
        """What it goes through the model as, one after another, each with its share of the output tokens."""
        ...


Page = TypeVar("Page", bound=PageFigures)
PageIn = TypeVar("PageIn", bound=PageFigures, contravariant=True)
PageOut = TypeVar("PageOut", bound=PageFigures, covariant=True)


class ServedModel(Protocol[PageIn]):
    """A model whose stages can be walked, for any number of pages at once."""

    @property
    def max_position_embeddings(self) -> int:
        """Positions that a page and its output tokens may take together."""
        ...

    @property
    def batch_size(self) -> int:
        """Pages at once."""
        ...

    @property
    def reserve_bytes(self) -> int | None:
        """Device memory that is left free: assumed; None: what the kind of the device leaves."""
        ...

    @property
    def load_bytes(self) -> int:
        """Device memory that loading takes at its peak, beside the weights as they stay."""
        ...

    def batched(self, pages: int) -> Self:
        """The same model for `pages` pages at once."""
        ...

    @property
    def steps_by_context(self) -> bool:
        """Whether a decode step depends on the tokens before it alone, not on where they came from."""
        ...

    def decode_runs(self, steps: int) -> Sequence[StepRun]:
        """The runs of a page's decode steps."""
        ...

    def step(self, context: int, generated: int = 0) -> StageMemory:
        """One decode step with `context` tokens before it, of which the last `generated` came from steps before it."""
        ...

    @property
    def engine(self) -> EngineSchema:
        """What serves it."""
        ...

    def profile_run(self, max_num_batched_tokens: int, max_num_seqs: int, sampler: str) -> ProfileRun:
        """What the engine's profile run holds at these settings."""
        ...

    @property
    def devices(self) -> int:
        """Over how many devices it is split; every figure is one device's."""
        ...

    @property
    def host(self) -> HostSchema:
        """What the host does for a page."""
        ...

    @property
    def client(self) -> ClientSchema:
        """Who sends the pages."""
        ...

    @property
    def request(self) -> Request:
        """What a request holds beside a page."""
        ...

    def graphed(self, stage: str) -> bool:
        """Whether a stage is replayed as one graph."""
        ...

    def stage_walk(self, stage: str, *, page: PageIn | None = None, context: int = 0, generated: int = 0) -> Walk:
        """The operators of "prefill" of a page, or of one "decode" step."""
        ...


# -- the workload ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PageKind(Generic[PageOut]):
    """Pages of one kind: the cost of one of them, how many there are, and what they say.

    page: a prompt without an image, too. output_tokens: decode steps of each page (of several in a request those of
    all), or several numbers with their weights, {800: 0.7, 1500: 0.3}.
    label: the document type, where the user tells types apart.
    """

    page: PageOut
    output_tokens: int | Mapping[int, float | Fraction]
    count: int = 1
    label: str = ""


class Share(NamedTuple):
    """Output tokens of some pages of a kind, and their share of all pages."""

    output_tokens: int
    share: Fraction


@dataclass(frozen=True, kw_only=True)
class Prepared(Generic[PageOut]):
    """A pass of the pages of a kind, most pages' only one: how many a page on average, and what it says.

    number: which of the kinds. page: the pass, as a page.
    """

    number: int
    kind: PageKind[PageOut]
    page: PageOut
    share: Fraction
    outputs: tuple[Share, ...]


def exact(who: str, value: Any) -> Fraction:
    """A number exactly as it is written."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (1e400, -1e400):
        raise ModelMeterError(f"throughput: {who}={value!r} is no number.")
    return Fraction(repr(value))


def longest_sequence(model: ServedModel[Any]) -> int:
    """Positions that a page and its output may take: the model's, or fewer where its engine allows fewer."""
    return min(model.max_position_embeddings, model.engine.max_model_len or model.max_position_embeddings)


def share_of(who: str, value: Any) -> Fraction:
    """A share from 0 up to, but not including, 1."""
    share = exact(who, value)
    if not 0 <= share < 1:
        raise ModelMeterError(f"throughput: {who}={float(share):g} is no share; give a number from 0 to below 1.")
    return share


def _outputs(kind: PageKind[Any]) -> list[tuple[int, Fraction]]:
    """Numbers of output tokens with weights that sum to 1."""
    who = f"output_tokens of {kind.label}" if kind.label else "output_tokens"
    given = kind.output_tokens
    weights = given if isinstance(given, Mapping) else {given: 1}
    if not weights:
        raise ModelMeterError(f"throughput: {who} is empty; give a number, or numbers with their weights.")
    outputs = []
    for tokens, weight in weights.items():
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
            raise ModelMeterError(
                f"throughput: {who}={tokens!r} is no number of tokens; give a whole number from 0 on."
            )
        share = exact(f"weight of {who} {tokens}", weight)
        if share <= 0:
            raise ModelMeterError(
                f"throughput: the weight of {who} {tokens} is {float(share):g}; weights are positive."
            )
        outputs.append((tokens, share))
    total = sum(weight for _, weight in outputs)
    return [(tokens, weight / total) for tokens, weight in outputs]


def prepared(
    kinds: Sequence[PageKind[Page]], model: ServedModel[Page], runaway_share: Fraction
) -> tuple[Prepared[Page], ...]:
    """The passes of the kinds with their shares of all pages, within the model's limit; apart those that run to it.

    Of a page of several passes each may run away.
    """
    if not kinds:
        raise ModelMeterError("throughput: the corpus has no page; give at least one PageKind.")
    if model.batch_size != 1:
        raise ModelMeterError(
            f"throughput: the cost model is one of {model.batch_size} pages at once (runtime.batch_size); give the "
            "model of one page, and the batch as batch_size."
        )
    for kind in kinds:
        if isinstance(kind.count, bool) or not isinstance(kind.count, int) or kind.count < 1:
            raise ModelMeterError(
                f"throughput: count={kind.count!r} of {kind.label or 'a page'} is no number of pages."
            )
    total = sum(kind.count for kind in kinds)
    limit = longest_sequence(model)
    of = "the model has" if limit == model.max_position_embeddings else "engine.max_model_len allows"
    pages = []
    for kind_number, kind in enumerate(kinds):
        share = Fraction(kind.count, total)
        said = [(kind.page.passes(tokens), share * weight * (1 - runaway_share)) for tokens, weight in _outputs(kind)]
        for number, (page, _) in enumerate(said[0][0]):
            room = limit - page.seq_len
            outputs = [Share(passes[number][1], of_pages) for passes, of_pages in said]
            longest = max(each.output_tokens for each in outputs)
            if longest > room:
                way = f"up to {room} fit" if room >= 0 else f"the prompt alone is {-room} longer"
                raise ModelMeterError(
                    f"throughput: {kind.label or 'a page'} of {page.seq_len} positions has no room for "
                    f"{longest} output tokens: {of} {limit} positions; {way}."
                )
            if runaway_share:
                outputs.append(Share(room, share * runaway_share))
            pages.append(Prepared(number=kind_number, kind=kind, page=page, share=share, outputs=tuple(outputs)))
    return tuple(pages)
