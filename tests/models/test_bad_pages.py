"""Pages that no model takes, of every model, from Python and on the command line: what came, what is expected."""

from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.errors import ModelMeterError
from modelmeter.models import MODELS

#: sides that are none, as Python and as a command is given them, and what both say
SIDES = {
    "no width": ((0, 5), "0x5", "=0 is not positive", "width 0 is out of range; a side has 1 to 2147483647 pixels"),
    "a negative height": ((5, -1), "5x-1", "=-1 is not positive", "5x-1"),
    "beyond any image": ((2**31, 5), f"{2**31}x5", "more than 2147483647", "is out of range; a side has 1 to"),
    "half a pixel": ((12.5, 5), "12.5x5", "=12.5 is a float", "12.5x5"),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("size", "typed", "in_python", "on_the_command_line"), SIDES.values(), ids=SIDES)
def test_sides_that_are_none(
    model: str,
    size: tuple[Any, Any],
    typed: str,
    in_python: str,
    on_the_command_line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ModelMeterError, match=in_python):
        load_cost_model(model=model).page(*size)
    assert main(["page", typed, "--model", model]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert told.startswith("error: ") and on_the_command_line in told


@pytest.mark.parametrize("model", MODELS)
def test_a_page_beyond_the_models_context(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    positions = load_cost_model(model=model).page(1275, 1650).seq_len
    few = f"decoder.max_position_embeddings={positions - 1}"
    message = (
        f"{positions} tokens of prompt and image and output_tokens=0 exceed {few}; take a smaller page or mode, or a "
        "shorter prompt."
    )
    with pytest.raises(ModelMeterError, match=message.replace(".", r"\.")):
        load_cost_model([few], model=model).page(1275, 1650)
    assert main(["page", "1275x1650", "--model", model, few]) == 2
    assert f"error: page 1275x1650: context: {message}" in " ".join(capsys.readouterr().err.split())
    assert main(["page", "1275x1650", "--model", model, "--output-tokens", "99999999"]) == 2
    assert "output_tokens may be up to" in " ".join(capsys.readouterr().err.split())


#: model, or checkpoint; what refuses a page of 60,000 x 20, or how many image tokens it has
LONG = {
    "deepseek_ocr": 1183,
    "deepseek_ocr2": 1121,
    "qianfan_ocr": 3328,
    "granite_docling_258m": 320,
    "granite_docling_500m": 1088,
    "unlimited_ocr": 3483,
    "mineru2_5": 1369,
    "glm_ocr": "84000 x 28 pixels, scaled from 60000 x 20, have an aspect ratio above 200",
    "hunyuan_ocr": "60000 x 20 pixels have an aspect ratio above 200, the most that the model's preprocessing takes",
    "paddleocr_vl": "84000 x 28 pixels, scaled from 60000 x 20, have an aspect ratio above 200",
    "lighton_ocr": "has no square of 2 x 2 to make a token of",
    "olmocr_2_7b": "1288 x 0 pixels, scaled from 60000 x 20, have an aspect ratio above 200",
    "qwen3_vl": "60000 x 20 pixels have an aspect ratio above 200, the most that the model's preprocessing takes",
    "chandra": "137384 x 45 pixels, scaled from 60000 x 20, have an aspect ratio above 200",
    "qwen2_5_vl_3b": "60000 x 20 pixels have an aspect ratio above 200, the most that the model's preprocessing takes",
}


@pytest.mark.parametrize(("model", "expected"), LONG.items(), ids=LONG)
def test_a_page_too_long_is_refused_by_its_models_own_rule(
    model: str, expected: str | int, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["page", "60000x20", "--model", model])
    told = capsys.readouterr()
    if isinstance(expected, int):
        assert status == 0 and f"{expected} image" in told.out
        return
    assert status == 2 and expected in " ".join(told.err.split())
    with pytest.raises(ModelMeterError, match=expected):
        load_cost_model(model=model).page(60_000, 20)
