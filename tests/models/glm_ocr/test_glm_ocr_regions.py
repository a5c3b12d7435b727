"""A page of declared regions is their passes, and what was not declared is said to be missing."""

from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from modelmeter.models.common.stage_cost import STAGES, SUMS
from tests.models.glm_ocr.small import OVERRIDES

SIDES = ((1000, 60), (480, 620), (300, 24))


def load(*overrides: str) -> Any:
    return load_cost_model([*OVERRIDES, *overrides], model="glm_ocr")


def test_a_page_is_the_sum_of_its_regions() -> None:
    page = load("workload.regions=[[1000,60,140,90],[480,620,120,200],[300,24]]").page(1275, 1650, 70)
    # 36 x 2, 17 x 22 and 12 x 1 tokens: 72, 374 and 12 of 458
    shares = [70 * 72 // 458, 70 * 446 // 458 - 70 * 72 // 458, 70 - 70 * 446 // 458]
    regions = [load().page(*side, steps) for side, steps in zip(SIDES, shares, strict=True)]
    assert [steps for _, steps in page.passes(70)] == shares
    assert page.seq_len == sum(each.seq_len for each in regions) == 458 + 3 * 20
    for stage in STAGES:
        for figure in SUMS:
            parts = [getattr(getattr(each, stage), figure) for each in regions]
            assert getattr(getattr(page, stage), figure) == sum(parts), (stage, figure)


def test_the_output_says_what_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "1275x1650", "--model", "glm_ocr", "--explain"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "PP-DocLayoutV3, a network of its own" in told and "(one pass over the whole page)" in told
    regions = "workload.regions=[[1000,60],[480,620]]"
    assert main(["page", "1275x1650", "--model", "glm_ocr", regions, "--explain"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "regions declared" in told and "one pass over the whole page" not in told


def test_the_real_modules_run_one_pass() -> None:
    model = load("workload.regions=[[1000,60]]")
    package = model_package("glm_ocr")
    with pytest.raises(ModelMeterError, match="verify a region as a page"):
        package.whole_model(model)
    with pytest.raises(ModelMeterError, match="run a region as a page"):
        package.real_page(model, model.page(1275, 1650), "cpu")
