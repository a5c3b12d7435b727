"""What models share: the cost of a stage."""

from modelmeter.models.common.stage_cost import StageCost

__all__ = ["StageCost"]
