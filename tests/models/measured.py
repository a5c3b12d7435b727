"""A stage's figures as the account has them, and as instruments measured them, in the same words."""

from modelmeter.models.common import StageCost
from modelmeter.reference.measurement import Measurement


def figures(cost: StageCost) -> dict[str, int | str]:
    """The account's."""
    return {
        "flops": cost.tensor_core_flops,
        "traffic": cost.io_bytes,
        "traffic of weights": cost.io_weight_bytes,
        "traffic of the cache": cost.io_kv_bytes,
        "live peak": cost.activation_peak_bytes,
        "at": cost.peak_operator,
        "in": cost.peak_path,
        "resident peak": cost.resident_peak_bytes,
        "cache": cost.kv_bytes,
        "cache added": cost.kv_added_bytes,
        "weights": cost.weight_bytes,
    }


def measured(stage: Measurement) -> dict[str, int | str]:
    """The same of a measurement."""
    return {
        "flops": stage.flops,
        "traffic": stage.io_bytes,
        "traffic of weights": stage.traffic.weight_bytes,
        "traffic of the cache": stage.traffic.kv_bytes,
        "live peak": stage.activation_peak_bytes,
        "at": stage.peak_operator,
        "in": stage.peak_path,
        "resident peak": stage.resident_peak_bytes,
        "cache": stage.kv_bytes,
        "cache added": stage.kv_added_bytes,
        "weights": stage.weight_bytes,
    }
