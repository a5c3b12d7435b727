"""What GPUs were seen to do, as committed, beside what is predicted now."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter.models.deepseek_ocr import load_cost_model

CALIBRATION = Path(__file__).parents[2] / "reports" / "calibration"
MEASURED = sorted(CALIBRATION.glob("nvidia-*/results.json"))

STEPS = (1, 16, 64, 256)


def predicted_peaks(page: dict[str, Any]) -> dict[str, int]:
    """Activation peaks, bytes, of what is measured on a GPU."""
    cost_model = load_cost_model()
    cost = cost_model.page(page["width"], page["height"])
    assert cost.seq_len == page["seq_len"]
    return {
        "vision": cost.vision.activation_peak_bytes,
        "prefill": cost.prefill.activation_peak_bytes,
        "text": cost_model.text(cost.seq_len).prefill.activation_peak_bytes,
        **{f"decode {pages}": cost_model.batched(pages).step(cost.seq_len).activation_peak_bytes for pages in STEPS},
    }


def test_gpus_were_measured() -> None:
    assert {path.parent.name for path in MEASURED} == {"nvidia-h100-80gb-hbm3", "nvidia-h200"}


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.parent.name)
def test_what_the_allocator_was_asked_for_is_the_predicted_peak(path: Path) -> None:
    results = json.loads(path.read_text(encoding="utf-8"))
    measured = {
        stage: entry["memory"]["requested_by_pass"] for stage, entry in results["stages"].items() if "memory" in entry
    }
    assert measured == predicted_peaks(results["predicted"]["page"])
    assert results["weights"]["bytes"] == load_cost_model().model.forward_memory_weight()
