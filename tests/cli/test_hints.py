"""What the command says where its user errs: the right key, option or spelling, ready to be copied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelmeter.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys: Capture, *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


#: what came instead of a key, and what is offered
KEYS = {
    "mode=base": "workload=base",
    "resolution=tiny": "workload=tiny",
    "x=vllm": "execution=vllm",
    "batch_size=4": "runtime.batch_size=4",
    "batchsize=4": "runtime.batch_size=4",
    "batch-size=4": "runtime.batch_size=4",
    "batch=4": "runtime.batch_size=4",
    "dtype=float16": "runtime.dtype=float16",
    "attn_implementation=eager": "runtime.attention=eager",
    "base_size=640": "workload.base_size=640",
    "BASE_SIZE=640": "workload.base_size=640",
    "runtime.base_size=640": "workload.base_size=640",
    "workload.dtype=float32": "runtime.dtype=float32",
    "prompt_token=5": "runtime.prompt_tokens=5",
    "num_hidden_layers=2": "decoder.num_hidden_layers=2",
    "output_tokens=5": "--output-tokens 5",
    "dpi=5": "--dpi 5",
    "runtime.dtyp=float32": "runtime.dtype",
}


@pytest.mark.parametrize("given, meant", KEYS.items(), ids=KEYS)
def test_a_key_is_found_by_its_last_part_its_value_or_its_other_name(given: str, meant: str, capsys: Capture) -> None:
    assert f'did you mean "{meant}"' in refused(capsys, "page", "5x5", given)


def test_all_keys_of_a_name_are_offered(capsys: Capture) -> None:
    assert 'did you mean "vision.sam.patch_size=5" or "workload.patch_size=5"?' in refused(
        capsys, "page", "5x5", "patch_size=5"
    )


def test_an_option_is_offered_where_the_command_has_it(capsys: Capture) -> None:
    assert 'did you mean "--batch 4"?' in refused(capsys, "throughput", "5x5", "batch=4", "--output-tokens", "1")
    assert 'did you mean "--device l4"?' in refused(capsys, "throughput", "5x5", "device=l4", "--output-tokens", "1")


def test_the_keys_are_those_of_the_model_that_is_asked_for(capsys: Capture) -> None:
    text = refused(capsys, "page", "5x5", "longest_edge=640", "--model", "lighton_ocr")
    assert 'did you mean "workload.longest_edge=640"?' in text
    assert "workload.longest_edge" not in refused(capsys, "page", "5x5", "longest_edge=640")


#: how pages' sizes are written elsewhere
PARTS_OF_A_SIZE = {
    "three_arguments": ("1275", "x", "1650"),
    "times": ("1275", "×", "1650"),
    "two_arguments": ("1275", "1650"),
    "joined_to_the_first": ("1275x", "1650"),
    "joined_to_the_second": ("1275", "X1650"),
    "comma": ("1275,1650",),
    "colon": ("1275:1650",),
}


@pytest.mark.parametrize("parts", PARTS_OF_A_SIZE.values(), ids=PARTS_OF_A_SIZE)
def test_a_size_in_parts_is_told_how_it_is_written(parts: tuple[str, ...], capsys: Capture) -> None:
    assert refused(capsys, "page", *parts).endswith("is no file; a page's size is written 1275x1650.\n")
    assert refused(capsys, "page", "5x5", *parts, "workload=tiny").count("1275x1650") == 1


def test_numbers_that_name_files_are_no_size_in_parts(capsys: Capture) -> None:
    Path("1275").write_text("text")
    assert "is not an image in a format that is read" in refused(capsys, "page", "1275", "1650")


@pytest.mark.parametrize("text", ["1275 x 1650", "1275×1650", "1275X1650", "1275*1650", "letter@150", "Letter"])
def test_other_spellings_are_the_same_page(text: str, capsys: Capture) -> None:
    assert main(["page", text, "--json", "--dpi", "150"]) == 0
    (page,) = json.loads(capsys.readouterr().out)["pages"]
    assert (page["width"], page["height"]) == (1275, 1650)


def test_a_paper_alone_is_of_the_resolution_of_pdfs_and_says_so(capsys: Capture) -> None:
    assert main(["page", "A4"]) == 0
    assert capsys.readouterr().out.startswith("A4@144: 1191 x 1684 pixels\n")


def test_a_paper_that_is_also_a_file_is_refused(capsys: Capture) -> None:
    Path("letter").write_text("text")
    text = refused(capsys, "page", "letter")
    assert text == (
        "error: letter is a paper and also the name of a file; write ./letter for the file, letter@144 for the paper.\n"
    )
    assert main(["page", "letter@144"]) == 0
    capsys.readouterr()
    assert "is not an image" in refused(capsys, "page", "./letter")


def test_points_are_asked_for_by_the_option(capsys: Capture) -> None:
    Path("t.csv").write_text("width,height\n595.28,841.89\n")
    text = refused(capsys, "corpus", "t.csv")
    assert "say --unit points (in Python unit='points')" in text
    assert main(["corpus", "t.csv", "--unit", "points"]) == 0


def test_what_a_page_says_is_never_assumed(capsys: Capture) -> None:
    text = refused(capsys, "throughput", "1275x1650", "--device", "H100-SXM")
    assert "add --output-tokens 1000" in text
    assert "--output-tokens 0 is the prefill alone" in text
    assert main(["throughput", "1275x1650", "--device", "H100-SXM", "--output-tokens", "0"]) == 0
