"""`LawSet`: all laws of a model as one code runs it, which several checkpoints, modes and engines may share.

Figures are those of `StageCost`; kernels are what times are made of (`modelmeter.kernels`), of the model as its times
are estimated. A family is a stage of layouts of one kind over certain variables; its laws are tried in their order.

What of experts' weights a pass reads, its tokens decide by a formula that is no polynomial. So it is two variables of
the kernels: `hit_bytes`, of an expert layer all that is read, and `up_bytes`, of it what the first GEMM reads.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from modelmeter.errors import ModelMeterError
from modelmeter.kernels import tabulated
from modelmeter.laws.search import Case, cases
from modelmeter.laws.tables import Tables, text
from modelmeter.models.common.stage_cost import StageCost
from modelmeter.shape_tensor import Tape
from modelmeter.sizes import Highest, Size, Variables

if TYPE_CHECKING:
    from modelmeter.models.common.contract import CostModel, Varied

Array = Any

#: pages that decode together, as laws are sought for; no engine runs more at once
MOST_PAGES: Final = 1024
#: numbers of pages beyond, for steps of code that sets no limit
_MORE_PAGES: Final = tuple(int(MOST_PAGES * 1.3**place) for place in range(20))
#: some numbers of pages, with which every context and every prefill is tried: few pages hit few experts
_SOME_PAGES: Final = (*range(2, 13), 16, 64, 1000)
#: the kind of a stage without a page
NO_IMAGE: Final = object()
#: what is no polynomial of a cost
_LABELS: Final = ("peak_path", "peak_operator")
#: sizes of pages whose layouts laws are sought for: drawn at random, evenly by their logarithms, and in even steps
_DRAWN: Final = 200_000
_LONGEST_DRAWN: Final = 30_000
_EVEN: Final = range(5, 5_000, 29)


class Family(NamedTuple):
    """The laws of a stage, of layouts of one kind ("": the stage has no image), over variables.

    cases: None where they are too many.
    """

    stage: str
    kind: str
    variables: tuple[str, ...]
    cases: list[Case] | None


class Peak(NamedTuple):
    """A peak: the largest of these, each a polynomial with the module and the operator that reach it."""

    candidates: tuple[tuple[str, str, str], ...]


@cache
def layouts_of(workload: Any) -> tuple[Any, ...]:
    """The layouts of pages of many sizes, those of every kind among them."""
    draws = np.random.default_rng(0)
    drawn = np.exp(draws.uniform(0, np.log(_LONGEST_DRAWN), (2, _DRAWN))).astype(np.int64)
    even = np.array([(width, height) for width in _EVEN for height in _EVEN]).T
    widths, heights = np.concatenate((drawn, even), axis=1)
    return tuple(dict.fromkeys((*workload.examples(), *workload.layouts(widths, heights).layouts)))


class LawSet:
    """The laws of a cost model. layouts: those that they are sought for; batches: pages of a prefill at once."""

    def __init__(self, model: CostModel, layouts: Sequence[Any], batches: Sequence[int], *, vision_times: bool) -> None:
        self.model = model
        self.batches = tuple(batches)
        self.vision_times = vision_times
        self.workload = model.workload
        self.kind_names = {rule.kind: rule.name for rule in self.workload.image_rule().kinds}
        self.by_kind: dict[Hashable, list[Any]] = {}
        for layout in layouts:
            if self._runs(layout):
                self.by_kind.setdefault(self.workload.kind(layout), []).append(layout)
        self.several = model.batched(2)

    def _runs(self, layout: Any) -> bool:
        """Whether the model takes a page of this layout."""
        try:
            return self.model.seq_len(self.workload.layout_of(layout)) <= self.model.max_position_embeddings
        except ModelMeterError:
            return False

    # -- what is varied, over which values ---------------------------------------------------------------------------

    def _page_values(self, kind: Hashable, *, seq_len: bool, batches: Sequence[int]) -> dict[str, Array]:
        """The variables of a page's stages, an array of each: all layouts of a kind, for each number of pages."""
        layouts = self.by_kind[kind]
        values: dict[str, list[int]] = {}
        if seq_len:
            values["seq_len"] = [self.model.seq_len(layout) for layout in layouts]
        for name in self.workload.sizes(layouts[0]):
            values[name] = [self.workload.sizes(layout)[name] for layout in layouts]
        arrays = {name: np.tile(np.array(each, np.int64), len(batches)) for name, each in values.items()}
        if tuple(batches) != (1,):
            arrays["pages"] = np.repeat(np.array(batches, np.int64), len(layouts))
        return arrays

    def _numbers(self, most: int, dense: int) -> Array:
        """Numbers from 1 to `most`: all up to `dense`, and some beyond."""
        draws = np.random.default_rng(most)
        beyond = draws.integers(1, most, 64, endpoint=True)
        return np.unique(np.concatenate((np.arange(1, min(dense, most) + 1), beyond, [most])))

    def _lengths(self) -> Array:
        """Tokens of prefills: those of pages, and others."""
        of_pages = {self.model.seq_len(layout) for each in self.by_kind.values() for layout in each}
        return np.unique([*of_pages, *self._numbers(self.model.max_position_embeddings - 2, 24)])

    def _step_values(self) -> Iterator[dict[str, Array]]:
        """The variables of a decode step: of one page, of several, and with or without steps before it."""
        most = self.model.max_position_embeddings - 1
        pages = np.unique([*range(2, MOST_PAGES + 1), *_MORE_PAGES])
        name = "context" if self.model.steps_by_context else "seq_len"
        contexts = np.arange(1, most + 1)
        yield {name: contexts}
        yield _joined(
            _crossed(**{name: contexts, "pages": np.array(_SOME_PAGES)}),
            _crossed(**{name: self._numbers(most, 16), "pages": pages}),
        )
        if not self.model.steps_by_context:
            yield from self._after_prefills("generated", range(1, 300), most)

    def _decode_values(self) -> Iterator[dict[str, Array]]:
        """The variables of two decode steps and more."""
        yield from self._after_prefills("steps", range(2, 300), self.model.max_position_embeddings)

    def _after_prefills(self, name: str, dense: range, most: int) -> Iterator[dict[str, Array]]:
        """Of one page and of several: the length of a prefill, and a number of steps, within `most` positions.

        Every length with some numbers, some lengths with many: where a law holds for one number alone, it is found.
        """
        lengths, beyond = self._lengths(), self._numbers(most, 0)
        some = lengths[:: -(-len(lengths) // 100)]
        one = _joined(
            _crossed(seq_len=lengths, **{name: np.unique([*dense[:8], *dense[8:160:8], *beyond])}),
            _crossed(seq_len=some, **{name: np.array(dense)}),
        )
        few = np.array([*dense[:9], *dense[60:64], *dense[124:132], dense[-1]])
        several = _joined(
            _crossed(seq_len=lengths, **{name: few}, pages=np.array(_SOME_PAGES)),
            _crossed(
                seq_len=some[::8],
                **{name: np.unique([*dense[:160:3], *beyond])},
                pages=self._numbers(MOST_PAGES, 48)[1:],
            ),
        )
        for values in (one, several):
            kept = (values["seq_len"] + values[name] <= most) & (values[name] >= dense[0])
            yield {each: array[kept] for each, array in values.items()}

    # -- figures -----------------------------------------------------------------------------------------------------

    def tokens(self) -> list[Family]:
        """Image tokens of a page."""
        return [
            self._family("tokens", kind, self._page_values(kind, seq_len=False, batches=(1,)), self._tokens)
            for kind in self.by_kind
        ]

    def _tokens(self, kind: Hashable, variables: Variables) -> str:
        sizes = {name: variables.size(name) for name in variables.values}
        layout = self.workload.with_sizes(self.by_kind[kind][0], sizes)
        return text(self.workload.tokens(layout).total)

    def figures(self) -> list[Family]:
        """Every figure of every stage."""
        families = []
        for kind in self.by_kind:
            for stage in ("vision", "prefill"):
                families += [
                    self._family(stage, kind, values, self._figures(stage)) for values in self._of_pages(kind, stage)
                ]
        for stage, each in (("step", self._step_values()), ("decode", self._decode_values())):
            families += [self._family(stage, NO_IMAGE, values, self._figures(stage)) for values in each]
        return families

    def _of_pages(self, kind: Hashable, stage: str) -> Iterator[dict[str, Array]]:
        """The variables of a stage of one page, and of several."""
        yield self._page_values(kind, seq_len=stage == "prefill", batches=(1,))
        several = [each for each in self.batches if each > 1]
        if several:
            yield self._page_values(kind, seq_len=stage == "prefill", batches=several)

    def _family(self, stage: str, kind: Hashable, values: Mapping[str, Array], make: Callable[..., Any]) -> Family:
        name = "" if kind is NO_IMAGE else self.kind_names[kind]
        who = f"{stage} over {', '.join(values) or 'nothing'}"
        return Family(stage, name, tuple(values), cases(who, values, partial(make, kind)))

    def _figures(self, stage: str) -> Callable[..., dict[str, str | Peak]]:
        def figures(kind: Hashable, variables: Variables) -> dict[str, str | Peak]:
            model = self.several if "pages" in variables.values else self.model
            layout = None if kind is NO_IMAGE else self.by_kind[kind][0]
            cost = model.cost_over(stage, variables, layout)
            return _written(cost)

        return figures

    # -- kernels -----------------------------------------------------------------------------------------------------

    def kernels(self) -> list[Family]:
        """The kernels of every stage but decode, whose time is the sum of its steps'."""
        families = []
        stages = ("vision", "prefill") if self.vision_times else ("prefill",)
        for kind in self.by_kind:
            for stage in stages:
                families += [
                    self._family(stage, kind, values, self._kernels(stage)) for values in self._of_pages(kind, stage)
                ]
        families += [self._family("step", NO_IMAGE, values, self._kernels("step")) for values in self._step_values()]
        return families

    def experts(self) -> dict[str, Any] | None:
        """What says how many experts tokens hit, and the bytes that an expert's two GEMMs read; None: it has none."""
        routed = self.model.model.decoder.routed
        if routed is None:
            return None
        experts, top_k = routed
        declared = self.model.for_times().experts_declared
        each = self.model.model.decoder.expert_bytes
        return {"experts": experts, "top_k": top_k, "hit": declared, "bytes": None if each is None else list(each)}

    @property
    def timed(self) -> bool:
        """Whether its kernels are laws: not those of experts that run one by one, as many as are hit."""
        decoder = self.model.model.decoder
        return decoder.routed is None or decoder.expert_bytes is not None

    def _kernels(self, stage: str) -> Callable[..., list[tuple[str, str, dict[str, str], str]]]:
        experts = self.experts()
        timed = self.model.for_times()
        models = [timed] if experts is None else [timed.with_hit(experts[name]) for name in ("top_k", "experts")]
        several = [each.batched(2) for each in models]

        def kernels(kind: Hashable, variables: Variables) -> list[tuple[str, str, dict[str, str], str]]:
            layout = None if kind is NO_IMAGE else self.by_kind[kind][0]
            tables = []
            for model in several if "pages" in variables.values else models:
                tape = Tape(variables=variables, keeps_records=True)
                tables.append(tabulated(_varied(model, stage, variables, layout).walk(tape)[0]))
            if len({len(each) for each in tables}) > 1:
                raise ModelMeterError(
                    f"laws: execution={self.model.config.execution.name} runs other kernels for other numbers of "
                    "experts, which no law over them says; take another execution."
                )
            return [
                (
                    first.kernel.kernel_class,
                    first.kernel.dtype,
                    {
                        name: text(size) if experts is None else _over_hit(size, last.kernel.sizes[name], experts)
                        for name, size in first.kernel.sizes.items()
                    },
                    text(first.count),
                )
                for first, last in zip(tables[0], tables[-1], strict=True)
            ]

        return kernels


def _varied(model: CostModel, stage: str, variables: Variables, layout: Any) -> Varied:
    """A stage over these variables."""
    values = variables.values
    if stage == "vision":
        return model.vision_over(layout)
    if stage == "prefill":
        return model.prefill_over(values["seq_len"], layout)
    return model.step_over(values.get("context", values.get("seq_len", 0)), values.get("generated", 0))


def _over_hit(least: Any, most: Any, experts: Mapping[str, Any]) -> str:
    """A kernel's size, from its values where top_k experts are hit and where all are."""
    more = most - least
    if isinstance(more, Size) or not more:
        if more:
            raise ModelMeterError(
                "laws: a kernel's size grows with the experts that are hit, and not by their weights."
            )
        return text(least)
    each = Fraction(more, experts["experts"] - experts["top_k"])
    up, down = experts["bytes"]
    variable = {up + down: "1*hit_bytes", up: "1*up_bytes", down: "1*hit_bytes + -1*up_bytes"}.get(each)
    if variable is None:
        raise ModelMeterError(f"laws: a kernel reads {float(each):g} bytes of an expert, which is neither GEMM's.")
    rest = least - int(each) * experts["top_k"]
    return f"{text(rest)} + {variable}"


def _crossed(**values: Array) -> dict[str, Array]:
    """Every combination of some values, an array of each variable."""
    each = np.meshgrid(*values.values(), indexing="ij")
    return {name: array.ravel() for name, array in zip(values, each, strict=True)}


def _joined(*values: dict[str, Array]) -> dict[str, Array]:
    """The same variables' values one after another."""
    return {name: np.concatenate([each[name] for each in values]) for name in values[0]}


def _written(cost: StageCost) -> dict[str, str | Peak]:
    """A cost over variables: each figure as a polynomial, a peak as those of which the largest is it."""
    written: dict[str, str | Peak] = {}
    for field in fields(cost):
        if field.name in _LABELS:
            continue
        value = getattr(cost, field.name)
        if field.name not in ("activation_peak_bytes", "resident_peak_bytes"):
            written[field.name] = text(value)
        elif isinstance(value, Highest):
            written[field.name] = Peak(tuple((text(size), *label) for size, label in value.candidates))
        else:
            written[field.name] = Peak(((text(value), cost.peak_path, cost.peak_operator),))
    return written


def written_figures(payload: Mapping[str, str | Peak], tables: Tables) -> dict[str, Any]:
    """The figures of a law with their polynomials by place."""
    return {
        name: [[tables.polynomial(size), path, operator] for size, path, operator in value.candidates]
        if isinstance(value, Peak)
        else tables.polynomial(value)
        for name, value in payload.items()
    }
