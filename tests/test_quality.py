"""Published quality: versions apart, each figure with its source."""

from __future__ import annotations

import pytest

from modelmeter import quality
from modelmeter.errors import ModelMeterError

#: benchmarks whose overall figure is computed of the parts: (100 (1 - text edit) + formula CDM + table TEDS) / 3
OMNIDOCBENCH = ("OmniDocBench v1.5", "OmniDocBench v1.6")


def rows() -> dict[tuple[str, ...], dict[str, float]]:
    """The parts of each row of each table."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for each in quality.published():
        key = (each.benchmark, each.source, each.measured_by, each.checkpoint, each.mode or "")
        assert each.part not in found.setdefault(key, {})
        found[key][each.part] = each.value
    return found


def test_the_parts_make_the_whole() -> None:
    """A digit that was copied wrongly shows: every overall figure follows from its parts as the benchmark defines."""
    held = 0
    for (benchmark, *_), parts in rows().items():
        if benchmark in OMNIDOCBENCH and "table_teds" in parts:
            held += 1
            whole = (100 * (1 - parts["text_edit"]) + parts["formula_cdm"] + parts["table_teds"]) / 3
            assert parts["overall"] == pytest.approx(whole, abs=0.05), parts
        if benchmark == "olmOCR-bench" and "base" in parts:
            held += 1
            kinds = [value for name, value in parts.items() if name != "overall"]
            assert parts["overall"] == pytest.approx(sum(kinds) / 8, abs=0.11), parts
        if benchmark == "PureDocBench":
            held += 1
            tracks = (parts["clean"] + parts["digital"] + parts["real"]) / 3
            assert parts["overall"] == pytest.approx(tracks, abs=0.011), parts
    assert held > 30


def test_one_figure_a_column() -> None:
    """That of the mode first; without a doubt before with one; who measured goes before when."""
    of_gundam_m = quality.headline("deepseek_ocr", "OmniDocBench v1.5", "gundam_m")
    assert of_gundam_m is not None and of_gundam_m.value == 86.46
    of_another = quality.headline("deepseek_ocr", "OmniDocBench v1.5", "gundam")
    assert of_another is not None and of_another.value == 87.01 and of_another.mode is None
    # 91.09 is the vendor's own
    second = quality.headline("deepseek_ocr2", "OmniDocBench v1.5")
    assert second is not None and (second.value, second.measured_by) == (89.17, "independent")
    # nobody says how the 69.2 of another leaderboard was run
    doubted = quality.headline("glm_ocr", "OmniDocBench v1.5")
    assert doubted is not None and (doubted.value, doubted.measured_by) == (94.62, "vendor")
    assert quality.headline("granite_docling_258m", "olmOCR-bench") is None
    # a mode's figure is not the checkpoint's
    assert quality.headline("deepseek_ocr", "OmniDocBench v1.0 English") is None


def test_versions_are_benchmarks_of_their_own() -> None:
    """No figure of v1.6 answers for v1.5."""
    assert quality.headline("paddleocr_vl_1_6", "OmniDocBench v1.5") is None
    with pytest.raises(ModelMeterError, match=r"no benchmark OmniDocBench; there are OmniDocBench v1\.5"):
        quality.headline("glm_ocr", "OmniDocBench")


def test_every_figure_says_where_it_is_from() -> None:
    """Source, date and who measured it."""
    for each in quality.published():
        assert each.source and each.date and each.measured_by in (quality.VENDOR, quality.INDEPENDENT)
        assert each.better in ("higher", "lower")
