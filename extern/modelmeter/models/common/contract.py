"""What a model's package promises to the commands and reports, which know no model by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.stage_cost import StageCost
from modelmeter.models.common.vram import Vram
from modelmeter.shape_tensor import Holding, Walk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Layout(Protocol):
    """How a page is cut: views in all, and the columns and rows of its crops (1 x 1: no crops)."""

    @property
    def num_views_total(self) -> int:
        """Views, the global one counted."""

    @property
    def w_crop(self) -> int:
        """Columns of crops."""

    @property
    def h_crop(self) -> int:
        """Rows of crops."""

    def _asdict(self) -> dict[str, Any]:
        """All fields."""


class Tokens(Protocol):
    """Image tokens of a page, as the decoder sees them."""

    @property
    def global_tokens(self) -> int:
        """Of the global view."""

    @property
    def crop_tokens(self) -> int:
        """Of all crops."""

    @property
    def total(self) -> int:
        """Of both."""

    def _asdict(self) -> dict[str, Any]:
        """All fields."""


class Branch(Protocol):
    """One batch of equal views."""

    @property
    def batch_size(self) -> int:
        """Views."""

    @property
    def img_size(self) -> int:
        """Side of a view, pixels."""


class Branches(Protocol):
    """Both batches of a page; no crop branch where there are no crops."""

    @property
    def global_branch(self) -> Branch:
        """The view of the whole page."""

    @property
    def crop_branch(self) -> Branch | None:
        """The crops."""


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


class PageCost(Stages, Protocol):
    """What one page, or a batch of equal pages, costs."""

    @property
    def layout(self) -> Layout:
        """Views and grid."""

    @property
    def tokens(self) -> Tokens:
        """Image tokens of one page."""

    @property
    def vision_config(self) -> Branches:
        """The batches of views that run."""

    @property
    def seq_len(self) -> int:
        """Positions of a page's prefill: image tokens and prompt."""


#: the fields of a layout: views in all, columns and rows of its crops; a page's cost depends on nothing else
LayoutFields = tuple[int, int, int]


class CorpusModel(Protocol):
    """What corpora need: the cost of pages by their layouts."""

    @property
    def config(self) -> Any:
        """The resolved configuration, a dataclass of dataclasses."""

    @property
    def batch_size(self) -> int:
        """Pages of equal size that one `PageCost` is for."""

    def view_layouts(
        self, widths: NDArray[np.int64], heights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Sequence[LayoutFields]]:
        """Sides of many pages in pixels -> each page's index into the layouts that follow; none occurs twice."""

    def layout_cost(self, layout: LayoutFields, output_tokens: int = 0) -> PageCost:
        """The cost of a page of this layout; raises `ModelMeterError` where the model cannot run it."""


class CostModel(CorpusModel, Protocol):
    """The cost of pages under one configuration."""

    @property
    def workload(self) -> Any:
        """The workload's knobs, a dataclass."""

    @property
    def prompt_tokens(self) -> int:
        """Positions of the prefill that are not image tokens."""

    @property
    def max_position_embeddings(self) -> int:
        """Positions that prefill and output may take together."""

    @property
    def reserve_bytes(self) -> int | None:
        """Device memory that is left free: assumed; None: what the kind of the device leaves."""

    @property
    def load_bytes(self) -> int:
        """Device memory that loading takes at its peak, beside the weights as they stay."""

    def page(self, width: int, height: int, output_tokens: int = 0) -> PageCost:
        """The cost of a page of `width` x `height` pixels."""

    def batched(self, pages: int) -> Self:
        """The same model for `pages` pages at once."""

    def step(self, context: int) -> StageCost:
        """One decode step with `context` tokens before it."""

    def stage_walk(self, stage: str, *, page: Any = None, context: int = 0) -> Walk:
        """The operators of "vision" or "prefill" of a `PageCost`, or of one "decode" step after `context` tokens."""

    def peak_holders(self, stage: str, width: int, height: int, output_tokens: int = 0) -> Sequence[Holding]:
        """What is alive at the resident peak of a page's "vision", "prefill" or last "decode" step, largest first."""

    def vram(self, width: int, height: int, output_tokens: int = 0, *, device_kind: str = "gpu") -> Vram:
        """The memory that a page and its output need on a device of a kind, "gpu" or "cpu"."""

    def settings(self) -> Mapping[str, object]:
        """What the figures depend on beside workload and page size, by the name that an override gives it."""

    def assumptions(self) -> Sequence[Assumption]:
        """The figures that are declared, assumed or conventional."""


class ModelPackage(Protocol):
    """A package under `modelmeter.models`."""

    __name__: str

    @property
    def MODES(self) -> Mapping[str, Any]:
        """The named workloads."""

    @property
    def CONFIG_GROUPS(self) -> Sequence[str]:
        """What an override's key may begin with."""

    def load_cost_model(self, overrides: Sequence[str] = ()) -> CostModel:
        """Compose the configuration with overrides, and build the model."""

    def restore_cost_model(self, configuration: Mapping[str, Any], *, prompt_tokens: int) -> CostModel:
        """The model of a configuration as a result states it, and of the prompt tokens that were counted for it.

        Nothing is composed, interpolated or opened for it. Raises `ModelMeterError` for what is no configuration.
        """
