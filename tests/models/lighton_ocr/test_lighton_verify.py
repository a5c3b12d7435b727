"""`modelmeter verify --model lighton_ocr`: a small one, of pages with a last row or column that is dropped."""

import json
from pathlib import Path

import pytest
import torch

from modelmeter.cli.main import main
from modelmeter.errors import ModelMeterError
from modelmeter.models.lighton_ocr import load_cost_model, real_page
from tests.models.lighton_ocr.small import OVERRIDES

MODEL = ("--model", "lighton_ocr")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("program", ["vision", "end2end"])
def test_whole_pages(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("output_tokens=3",) if program == "end2end" else ()
    assert main(["verify", program, *MODEL, "sizes=[[70,95],[56,42]]", *steps, *OVERRIDES]) == 0
    out = capsys.readouterr().out
    assert "70x95: 70 x 95 pixels, patches 5 x 7, 1 views, 6 image tokens (page 6)" in out
    assert "2 of 2 pages verified" in out and "worst difference 0 (tolerance 0)" in out


def test_grouped_heads_in_float32(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("sizes=[[70,95]]", "output_tokens=2", "runtime.dtype=float32", "runtime.batch_size=2")
    assert main(["verify", "end2end", *MODEL, "--json", *arguments, *OVERRIDES]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == "lighton_ocr"


def test_what_cannot_be_verified_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "end2end", "execution=serving", *MODEL]) == 2
    assert "execution=serving has no code here to measure; verify one of transformers" in capsys.readouterr().err


def test_a_real_page_runs_again_and_again() -> None:
    """Two pages with real tensors: the sizes that come out are the cost model's."""
    model = load_cost_model([*OVERRIDES, "runtime.dtype=float32", "runtime.batch_size=2"])
    cost = model.page(70, 95)
    page = real_page(model, cost, "cpu")
    with torch.no_grad():
        assert [tuple(each.shape) for each in page.vision().pooler_output] == [(6, 64)] * 2
        for _ in range(2):
            assert page.decode_step().past_key_values.get_seq_length() == cost.seq_len + 1
    with pytest.raises(ModelMeterError, match="execution=serving has no code here that computes"):
        real_page(load_cost_model([*OVERRIDES, "execution=serving"]), cost, "cpu")
