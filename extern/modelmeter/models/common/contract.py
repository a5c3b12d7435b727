"""What a model's package promises to the commands and reports, which know no model by name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.engines import ClientSchema, EngineSchema, HostSchema
from modelmeter.models.common.page_source import Source
from modelmeter.models.common.profile_run import ProfileRun
from modelmeter.models.common.runs import StepRun
from modelmeter.models.common.stage_cost import StageCost
from modelmeter.models.common.vram import Vram
from modelmeter.pdf_pages import DEFAULT_DPI
from modelmeter.walk import Allocation, Walk

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from modelmeter.layers import Execution
    from modelmeter.models.common.configuration import Configuration
    from modelmeter.models.common.request import Request
    from modelmeter.shape_tensor import Tape
    from modelmeter.sizes import Variables


#: how a page is cut, a tuple of whole numbers that its model names; pages of equal layout cost the same
Layout = tuple[int, ...]


class Place(NamedTuple):
    """Where on a page something is, pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Views:
    """A batch of equal views of one page, in the order in which they stand in the prompt."""

    name: str  # what they are called, as in "global"
    count: int
    height: int  # pixels, as the model sees them
    width: int
    columns: int  # how they tile the page; 1 x 1: each shows all of it
    rows: int
    tokens: int  # of all of them, what separates them included
    place: Place | None = None  # where on the page they are, if that is a part that was declared


class Layouts(NamedTuple):
    """The layouts of many pages: page i has `layouts[indices[i]]`. None stands there twice; some may be no page's."""

    indices: NDArray[np.int64]
    layouts: Sequence[Layout]


class Tokens(Protocol):
    """Image tokens of a page, as the decoder sees them."""

    @property
    def total(self) -> int:
        """All of them; the tokens of the views sum to it."""

    def by_view(self) -> Mapping[str, int]:
        """The tokens of each batch of views that a page of any layout may have; they sum to the total."""

    def _asdict(self) -> dict[str, Any]:
        """All fields."""


class Workload(Protocol):
    """What pages become before a model sees them: the rule of its preprocessing, with the knobs that it has.

    A frozen dataclass; its fields are named as the published preprocessing names them.
    """

    @property
    def layout_columns(self) -> Sequence[str]:
        """Names of a layout's numbers, for tables and for the columns of corpora."""

    @property
    def layout_words(self) -> Mapping[str, str]:
        """What a layout's numbers are called in words, by the names of its fields."""

    @property
    def layout_title(self) -> str:
        """What `layout_text` writes, as the head of a column."""

    def layout_text(self, layout: Any) -> str:
        """A layout in a table, as in "2 x 3"."""

    def layout(self, width: int, height: int) -> Any:
        """How a page of `width` x `height` pixels is cut; raises `ModelMeterError` for sizes that no page has."""

    def layouts(self, widths: ArrayLike, heights: ArrayLike) -> Layouts:
        """The same for many pages at once: sides [pages] in pixels, of an integer type."""

    def layout_of(self, fields: Sequence[int]) -> Any:
        """The layout with these numbers."""

    def tokens(self, layout: Any) -> Tokens:
        """Image tokens of a page of this layout."""

    def views(self, layout: Any) -> tuple[Views, ...]:
        """The batches of views that such a page goes through vision as."""

    def kind(self, layout: Any) -> Hashable:
        """Layouts of one kind may share a law."""

    def sizes(self, layout: Any) -> dict[str, int]:
        """The numbers of a layout that vary within its kind, by the name of the variable; each is 1 or more."""

    def with_sizes(self, layout: Any, sizes: Mapping[str, Any]) -> Any:
        """The layout with these numbers in the place of those that vary: sizes of a walk over variables."""

    def geometry(self, layout: Any, pages: int) -> Any:
        """What the model's vision pass is told of `pages` pages of this layout; the numbers may be sizes that vary."""

    def examples(self) -> Sequence[Any]:
        """A layout of each kind that pages can have."""


class Stages(Protocol):
    """What something costs by stage."""

    @property
    def vision(self) -> StageCost:
        """From pixels to image tokens."""

    @property
    def prefill(self) -> StageCost:
        """Vision, then the decoder over the prompt."""

    @property
    def decode(self) -> StageCost:
        """The output tokens' steps."""

    @property
    def total(self) -> StageCost:
        """Prefill, then decode."""


class TextCost(Protocol):
    """What a prompt costs, with pages among it or without one."""

    @property
    def prefill(self) -> StageCost:
        """Vision, if there are pages, then the decoder over the prompt."""

    @property
    def decode(self) -> StageCost:
        """The output tokens' steps."""

    @property
    def total(self) -> StageCost:
        """Prefill, then decode."""

    @property
    def seq_len(self) -> int:
        """Positions of a request's prefill: image tokens and prompt; of several passes, of all of them."""

    def passes(self, output_tokens: int) -> Sequence[tuple[Self, int]]:
        """The passes that it goes through the model in, with their shares of the decode steps."""

    @property
    def output_tokens(self) -> int:
        """Decode steps after the prefill."""

    @property
    def cost_model(self) -> CostModel:
        """Whose cost it is."""

    def stages(self) -> Mapping[str, StageCost]:
        """What each stage costs by its name, the total last."""

    def vram(self, *, device_kind: str = "gpu") -> Vram:
        """The memory that it needs on a device of a kind, "gpu" or "cpu"."""

    def to_dict(self, *, device_kind: str = "gpu") -> dict[str, Any]:
        """Plain values under the names that `--json` has."""

    def to_pandas(self, by: str = "stage") -> pd.DataFrame:
        """A row for each "stage", "module" or "operator"; raises `ModelMeterError` without pandas."""


class PageCost(TextCost, Stages, Protocol):
    """What one page, or a batch of equal pages, costs."""

    @property
    def layout(self) -> Any:
        """How the page is cut."""

    @property
    def tokens(self) -> Any:
        """Image tokens of one page."""

    @property
    def views(self) -> tuple[Views, ...]:
        """The batches of views of one page."""


class CorpusModel(Protocol):
    """What corpora need: the cost of pages by their layouts."""

    @property
    def config(self) -> Any:
        """The resolved configuration, a dataclass of dataclasses."""

    @property
    def batch_size(self) -> int:
        """Pages of equal size that one `PageCost` is for."""

    @property
    def workload(self) -> Any:
        """A `Workload`."""

    @property
    def request(self) -> Request:
        """What a request holds beside a page."""

    def layout_cost(self, layout: Layout, output_tokens: int = 0) -> PageCost:
        """The cost of a page of this layout; raises `ModelMeterError` where the model cannot run it."""


class Varied(NamedTuple):
    """A stage over the sizes that differ from page to page.

    kind: what may share a law. sizes: their values at hand. walk: the stage on a tape over variables of these names,
    the bytes of the cache that it is given, and of the one that it leaves.
    """

    kind: Hashable
    sizes: dict[str, int]
    walk: Callable[[Tape], tuple[Walk, int, int]]


class TimedModel(Protocol):
    """What times need: stages over the sizes that vary."""

    #: the kernels of stages by what may share them, as `modelmeter.devices.kernel_laws` has found them
    kernel_laws: dict[Hashable, tuple[Any, ...]]

    @property
    def batch_size(self) -> int:
        """Pages at once."""

    @property
    def workload(self) -> Any:
        """A `Workload`."""

    @property
    def bound_alone(self) -> bool:
        """Whether no code runs all that is modelled, so that a time is a bound."""

    @property
    def steps_by_context(self) -> bool:
        """Whether a decode step depends on the tokens before it alone, not on where they came from."""

    def for_times(self) -> Self:
        """The model as its times are estimated."""

    def batched(self, pages: int) -> Self:
        """The same model for `pages` pages at once."""

    def lazy(self) -> Self:
        """The same model for few pages: it walks what they need alone."""

    def graphed(self, stage: str) -> bool:
        """Whether the modelled code replays a stage as one graph."""

    def seq_len(self, layout: Any) -> int:
        """Positions of a page's prompt."""

    def vision_over(self, layout: Any) -> Varied:
        """The vision stage of a layout."""

    @property
    def request(self) -> Request:
        """What a request holds beside a page."""

    def prefill_over(self, seq_len: int, layout: Any | None, cached: int = 0) -> Varied:
        """The prefill of a prompt of `seq_len` positions, with a page of this layout among them or without one.

        cached: of them, from the first on, are in the cache that it is given.
        """

    def step_over(self, seq_len: int, generated: int) -> Varied:
        """A decode step after a prefill of `seq_len` tokens and `generated` steps."""

    def decode_runs(self, steps: int) -> Sequence[StepRun]:
        """The runs of a page's decode steps, in each of which what they compute and move grows evenly."""


class CostModel(CorpusModel, TimedModel, Protocol):
    """The cost of pages under one configuration."""

    @property
    def parameters(self) -> int:
        """Parameters of the whole network."""

    @property
    def prompt_tokens(self) -> int:
        """Positions of the prompt's own text."""

    def text_len(self, prompt_tokens: int) -> int:
        """Positions of a prompt with so many of its own, the system prompt's among them."""

    def text(self, prompt_tokens: int, output_tokens: int = 0) -> TextCost:
        """The cost of a prompt without an image."""

    def prefill_over_cache(self, page: Any, cached: int) -> StageCost:
        """The prefill of a page or a text whose first `cached` positions are in the cache that it is given."""

    @property
    def pages_at_once(self) -> int:
        """Pages that go through vision together."""

    def prompt_of(self, layout: Any) -> int:
        """Positions of a prefill over this layout that are no image tokens."""

    @property
    def max_position_embeddings(self) -> int:
        """Positions that prefill and output may take together."""

    @property
    def reserve_bytes(self) -> int | None:
        """Device memory that is left free: assumed; None: what the kind of the device leaves."""

    @property
    def load_bytes(self) -> int:
        """Device memory that loading takes at its peak, beside the weights as they stay."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def modes(self) -> Mapping[str, Any]:
        """The named workloads of the model."""

    def page(self, width: int | Source, height: int | None = None, output_tokens: int = 0) -> PageCost:
        """The cost of a page of `width` x `height` pixels, or of the page of an image file."""

    def pages(self, source: Source, output_tokens: int = 0, *, dpi: int = DEFAULT_DPI) -> Sequence[PageCost]:
        """The cost of each page of an image file, a TIFF or a PDF, this one's rendered at `dpi`."""

    def step(self, context: int, generated: int = 0) -> StageCost:
        """One decode step with `context` tokens before it, of which the last `generated` came from steps before it."""

    def stage_walk(
        self, stage: str, *, page: Any = None, context: int = 0, generated: int = 0, cached: int = 0
    ) -> Walk:
        """The operators of "vision" or "prefill" of a `PageCost`, or of one "decode" step as `step` takes it.

        cached: of a prefill, as `prefill_over_cache` takes it.
        """

    def peak_holders(self, stage: str, width: int, height: int, output_tokens: int = 0) -> Sequence[Allocation]:
        """What is alive at the resident peak of a page's "vision", "prefill" or last "decode" step, largest first."""

    def vram(self, width: int, height: int, output_tokens: int = 0, *, device_kind: str = "gpu") -> Vram:
        """The memory that a page and its output need on a device of a kind, "gpu" or "cpu"."""

    @property
    def engine(self) -> EngineSchema:
        """What serves it, and how much of a device that takes."""

    @property
    def devices(self) -> int:
        """Over how many devices it is split; every figure is one device's."""

    @property
    def host(self) -> HostSchema:
        """What the machine around the device does for a page."""

    @property
    def client(self) -> ClientSchema:
        """Who sends the pages."""

    @property
    def profiled_layout(self) -> Any | None:
        """The layout of the images of the engine's profile run; None: it has none, or nobody has read which it is."""

    def pass_vision(self, layout: Any) -> StageCost:
        """The vision stage of one pass of a layout, of what goes through vision together; of no other of its page."""

    def of_lone_pages(self) -> Self:
        """This model with one page a request and no system prompt."""

    def profile_run(self, max_num_batched_tokens: int, max_num_seqs: int, sampler: str) -> ProfileRun:
        """What the engine's profile run holds at these settings."""

    def engine_workload(self) -> Mapping[str, Any]:
        """Keys of the workload that the engine's own processor sets otherwise than the published one."""

    def graphed(self, stage: str) -> bool:
        """Whether the modelled code replays a stage as one graph."""

    def steps_text(self, tokens: int, passes: int = 1) -> str:
        """The decode steps that so many tokens of a page of so many passes take, in words."""

    @property
    def model(self) -> Any:
        """The layers: a `VisionLanguageModel`."""

    @property
    def experts_declared(self) -> int | str:
        """How many experts a layer's tokens hit: "max", "uniform" or a number."""

    def with_hit(self, hit: int) -> Self:
        """The same model where every layer of experts reads `hit` of them."""

    def page_passes(self, layout: Any) -> Sequence[Any]:
        """The passes of a page of this layout; none where it is the only one."""

    def cost_over(self, stage: str, sizes: Variables, layout: Any = None) -> StageCost:
        """What a stage costs over variables: its figures are sizes."""

    def to_dict(self) -> dict[str, Any]:
        """What results rest on, under the names that `--json` has."""

    def settings(self) -> Mapping[str, object]:
        """What the figures depend on beside workload and page size, by the name that an override gives it."""

    def assumptions(self) -> Sequence[Assumption]:
        """The figures that are declared, assumed or conventional."""


class WholeModel(Protocol):
    """A model's real modules as one, on the meta device, and where what they run stands in the cost model's walks.

    It is made for one cost model, of whose configuration it is. What it is called with and what it measured are its
    own (`reference.measurement.Measurement`): this file, and who imports it, needs no torch.
    """

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of its figures must know."""

    def check(self) -> None:
        """Raise `ModelMeterError` for a configuration that the real modules cannot be measured in."""

    def inputs(self, layout: Any) -> Any:
        """What the published preprocessing makes of `batch_size` pages of this layout and their prompt."""

    def vision(self, inputs: Any) -> Any:
        """The vision stage of these pages, measured."""

    def prefill(self, inputs: Any, *, experts_hit: int, head: str) -> tuple[Any, Any]:
        """The prompt's pass, its images included, measured, and the cache that it filled."""

    def decode_step(self, cache: Any, *, experts_hit: int, head: str) -> Any:
        """One step of all pages over the cache, which it moves on by a position, measured."""

    def skip(self, cache: Any, steps: int) -> None:
        """Move a cache on by so many steps without measuring them."""

    def positions(self, cache: Any) -> int:
        """Positions that the cache stands for: those that a sliding window has dropped too."""

    def place(self, path: str, run: int, layout: Any) -> str:
        """Where an operator stands in the walks of such pages.

        path: of its real module. run: how many calls of that module's outermost part came before.
        """

    def parts(self, source: Mapping[str, Any]) -> VisionParts | None:
        """The parts of vision one by one; None where they are not told apart.

        source: which modules, as the group `reference` of a configuration says. Raises `ModelMeterError` for others.
        """


class VisionParts(Protocol):
    """The parts of a vision stage, each called alone on what the one before it gave."""

    @property
    def same_code(self) -> bool:
        """Whether these modules are the code that `execution` names, so that traffic and peaks are the same too."""

    def rows(self, page: Any, detail: str) -> Sequence[Any]:
        """A `reference.comparison.Row` for each part of a page; on detail=blocks for every block below them too."""


class ModelPackage(Protocol):
    """A package under `modelmeter.models`."""

    __name__: str

    @property
    def TITLE(self) -> str:
        """What its makers call it."""

    @property
    def SOURCES(self) -> Sequence[str]:
        """Where its code, its weights and its description are published."""

    @property
    def CHECKPOINTS(self) -> Sequence[str]:
        """The weights that its configuration describes, by the names that people give them, the default first."""

    @property
    def TOKENIZER(self) -> str | None:
        """Its vocabulary, if it is one whose tokens were counted: a name of `modelmeter.output_tokens.tokenizers`."""

    @property
    def IMAGE_RULE(self) -> str:
        """In a line, what a page becomes before the model sees it."""

    @property
    def EXECUTIONS(self) -> Mapping[str, Execution]:
        """The code that it can be walked as."""

    @property
    def PROVEN(self) -> str:
        """What of its figures was held against something that is not this library, and against what."""

    @property
    def MODES(self) -> Mapping[str, Any]:
        """The named workloads."""

    @property
    def CONFIGURATION(self) -> Configuration[Any]:
        """Its groups, and what their values may be."""

    def load_cost_model(self, overrides: Sequence[str] = ()) -> CostModel:
        """Compose the configuration with overrides, and build the model."""

    def restore_cost_model(self, configuration: Mapping[str, Any], *, prompt_tokens: int) -> CostModel:
        """The model of a configuration as a result states it, and of the prompt tokens that were counted for it.

        Nothing is composed, interpolated or opened for it. Raises `ModelMeterError` for what is no configuration.
        """

    def whole_model(self, cost_model: Any) -> WholeModel:
        """The real modules that this cost model is of. torch is imported when it is called.

        Raises `ModelMeterError` where there are none: a model that nobody has, an execution that is nobody's code.
        """

    def layer_verification(self) -> Any:
        """Its layers beside the real modules that they describe: `reference.layer_case.LayerVerification`; as above."""

    def real_page(self, cost_model: Any, page: Any, device: str) -> Any:
        """The real model with random weights and a page's inputs on a device that computes: what is timed; as above."""
