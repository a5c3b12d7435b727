"""The programs, asked of the models of packed pages: whole pages and the vision stage, and what they have not."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from modelmeter.cli.main import main

pytestmark = pytest.mark.slow

FEW_LAYERS = ("decoder.num_hidden_layers=2", "vision.depth=2", "decoder.vocab_size=1000")
MODELS = {
    "qwen2_5_vl": (*FEW_LAYERS, "vision.fullatt_block_indexes=[1]", "decoder.intermediate_size=1100"),
    "qwen2_vl": FEW_LAYERS,
    "qwen3_vl": (*FEW_LAYERS, "vision.deepstack_visual_indexes=[0]"),
    "glm_ocr": FEW_LAYERS,
}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def as_in_a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)


def verified(capsys: Capture, *arguments: str) -> Any:
    status = main(["verify", *arguments, "--json"])
    result = json.loads(capsys.readouterr().out)["result"]
    assert (status, result["worst_difference"]) == (0, 0)
    (page,) = result["pages"]
    return page


@pytest.mark.parametrize(("model", "few"), MODELS.items(), ids=MODELS)
def test_whole_pages(model: str, few: tuple[str, ...], capsys: Capture) -> None:
    page = verified(capsys, "end2end", "--model", model, *few, "sizes=[[420,300]]", "output_tokens=2")
    assert len(page["steps"]) == 2
    assert page["stages"]["vision"]["peak_path"]["measured"].startswith("visual.")


@pytest.mark.parametrize(("model", "few"), MODELS.items(), ids=MODELS)
def test_the_vision_stage(model: str, few: tuple[str, ...], capsys: Capture) -> None:
    page = verified(capsys, "vision", "--model", model, *few, "sizes=[[420,300]]")
    assert page["modules"][0]["name"] == "visual"


@pytest.mark.parametrize("model", MODELS)
def test_a_layer_of_its_own(model: str, capsys: Capture) -> None:
    """The merger over three pages in three types; Qwen3-VL has two kinds of it."""
    lines = 18 if model == "qwen3_vl" else 9
    assert main(["verify", "layers", "--model", model, "layers=[PatchMerger]"]) == 0
    verified = f"1 of 1 layer classes verified, 0 excused, {lines} lines, worst difference 0 FLOPs"
    assert verified in capsys.readouterr().out


@pytest.mark.parametrize("model", MODELS)
def test_what_a_model_has_not_is_refused(model: str, capsys: Capture) -> None:
    assert main(["verify", "end2end", "--model", model, "execution=serving", "sizes=[[420,300]]"]) == 2
    assert "execution=serving has no code here to measure" in capsys.readouterr().err
