"""`modelmeter laws`: the file, and what is refused."""

import json
from pathlib import Path

import pytest

from modelmeter.cli.main import main


def test_it_writes_a_file_with_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "laws.json"
    arguments = ["--model", "mineru2_5", "--engine", "vllm", "--device", "L4", "--batch", "3", "--vectors", "5"]
    assert main(["laws", "workload=layout", *arguments, "-o", str(file)]) == 0
    content = json.loads(file.read_text(encoding="utf-8"))
    (model,) = content["models"]
    assert (content["format"], content["version"]) == ("modelmeter laws", 2)
    assert (model["checkpoint"], model["mode"], model["engine"]) == ("mineru2_5", "layout", "vllm")
    assert (content["batches"], list(content["devices"]), len(content["vectors"])) == ([1, 3], ["L4"], 5)
    said = capsys.readouterr().out
    assert said.startswith(f"{file}: ") and " laws of qwen2_vl, 5 vectors, " in said


def test_it_takes_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["laws", "1275x1650"]) == 2
    assert capsys.readouterr().err == "error: laws: 1275x1650 is no KEY=VALUE; laws are those of pages of every size.\n"


def test_standard_output_is_the_file_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["laws", "--model", "qwen2_vl", "workload=layout", "--vectors", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)["vectors"]) == 1
