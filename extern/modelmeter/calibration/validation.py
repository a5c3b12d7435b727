"""The time that a roofline predicts for a stage, beside the time that the stage took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelmeter.devices import Roofline, StageTime
from modelmeter.models.common.contract import CostModel
from modelmeter.models.common.stage_cost import STAGES

#: the passes that are timed: decode is one step after the page's prefill, which includes vision


@dataclass(frozen=True, kw_only=True)
class StageComparison:
    """One stage in one mode. measured_s: the median of `repeats`; spread: longest less shortest, as a share of it."""

    stage: str
    mode: str
    predicted: StageTime
    measured_s: float
    spread: float
    repeats: int

    @property
    def ratio(self) -> float:
        """Measured over predicted time."""
        return self.measured_s / self.predicted.seconds

    def content(self) -> dict[str, Any]:
        """For JSON; times in seconds."""
        return {
            "stage": self.stage,
            "mode": self.mode,
            "predicted_s": self.predicted.seconds,
            "measured_s": self.measured_s,
            "measured_over_predicted": self.ratio,
            "spread": self.spread,
            "repeats": self.repeats,
            "operators": self.predicted.operators,
            **{f"predicted_share_{bound}": self.predicted.share(bound) for bound in ("compute", "memory", "launch")},
        }


def predicted_stages(model: CostModel, page: Any, roofline: Roofline) -> dict[str, StageTime]:
    """The predicted time of each of `STAGES` of a page."""
    return {
        stage: roofline.stage(
            model.stage_walk(stage, context=page.seq_len) if stage == "decode" else model.stage_walk(stage, page=page)
        )
        for stage in STAGES
    }
