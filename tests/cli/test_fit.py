"""`modelmeter fit`: what a card holds in each precision, which is best, and why the others do not run."""

import json
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.devices import load_device

Capture = pytest.CaptureFixture[str]
PAGE = ["fit", "1275x1650", "--output-tokens", "1000"]


def fitted(capsys: Capture, *arguments: str) -> dict[str, dict[str, Any]]:
    """By precision, what the first model's JSON says."""
    (model,) = answered(capsys, *arguments)["models"]
    return {each["precision"]: each for each in model["precisions"]}


def answered(capsys: Capture, *arguments: str) -> dict[str, Any]:
    assert main([*PAGE, *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_is_left_beside_the_weights_by_hand(capsys: Capture) -> None:
    """Of vLLM 0.9 of the card, less its reserve; a token's keys and values are 12 x 2 x 1280 x 2 bytes.

    The reserve is 38 bytes a logit of 256 requests, 2 images of 693 tokens, hidden states of 2,048 tokens and twice of
    the requests, 1280 x 2 bytes each, and what is beside the profile run.
    """
    reserve = 256 * 129_280 * 38 + (2 * 693 + 2048 + 2 * 256) * 2560 + 590_000_000
    precisions = "unquantised,awq,fp8_channel"
    found = fitted(capsys, "--device", "RTX-3060-12GB", "--precisions", precisions, "engine.max_model_len=8192")
    memory = 12 * 2**30
    for name in ("unquantised", "awq"):
        weights = load_cost_model(["engine=vllm", f"precision={name}"]).model.forward_memory_weight()
        assert found[name]["weight_bytes"] == weights
        blocks = (memory * 9 // 10 - weights - reserve) // (61_440 * 16)
        assert found[name]["left_bytes"] == blocks * 16 * 61_440
        assert (found[name]["context"], found[name]["of_model"]) == (8192, True)
        assert found[name]["pages_at_once"] == blocks // 120  # of 913 + 1,000 tokens
    assert found["fp8_channel"]["refused"].startswith("device RTX-3060-12GB lists no matmul peak for fp8")
    assert found["fp8_channel"]["page_s"] is None


def test_the_best_has_most_bits_and_the_fastest_most_pages(capsys: Capture) -> None:
    document = answered(capsys, "--device", "L40S", "--precisions", "awq,fp8_channel,unquantised,bnb_nf4")
    (model,) = document["models"]
    assert model["best"] == "unquantised"
    fits = [each for each in model["precisions"] if each["refused"] is None]
    assert model["fastest"] == max(fits, key=lambda each: each["pages_per_s"]["value"])["precision"] != "unquantised"
    assert document["memory_bytes"] == load_device("L40S").memory_bytes


def test_a_model_too_large_for_the_card_fits_in_fewer_bits(capsys: Capture) -> None:
    found = fitted(
        capsys, "--device", "RTX-3060-12GB", "--models", "qwen2_5_vl_7b", "--precisions", "unquantised,awq,gguf_q4_k_m"
    )
    assert found["unquantised"]["refused"].startswith("the page does not fit: ")
    assert found["awq"]["refused"] is None
    assert found["gguf_q4_k_m"]["context"] > found["awq"]["context"]  # embedding and head are packed too
    more = fitted(
        capsys,
        *("--device", "RTX-3060-12GB", "--models", "qwen2_5_vl_7b", "--precisions", "awq", "precision.kv=fp8"),
    )
    assert more["awq"]["context"] == pytest.approx(2 * found["awq"]["context"], rel=0.01)


def test_a_context_that_is_asked_for(capsys: Capture) -> None:
    found = fitted(capsys, "--device", "L4", "--precisions", "awq", "--context", "8193")
    assert found["awq"]["refused"] == ("context 8,193 is asked for, 8,192 tokens fit: the model has no more positions")


def test_without_a_pool_by_what_passes_hold(capsys: Capture) -> None:
    found = fitted(capsys, "--device", "T4", "--precisions", "unquantised", "--engine", "transformers")["unquantised"]
    assert found["refused"] is None or "peak for bf16" in found["refused"]
    assert 0 < found["context"] <= 8192


REFUSED = {
    ("--device", "L4", "precision=awq"): "leave it out, or say --precisions",
    ("--device", "L4", "--precisions", "awk"): 'there is no such precision; did you mean "awq"',
    ("--device", "L5"): "device L5 is unknown",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_is_refused(arguments: tuple[str, ...], capsys: Capture) -> None:
    assert main([*PAGE, *arguments]) == 2
    assert REFUSED[arguments] in capsys.readouterr().err
    assert main(["fit", "1275x1650", "--device", "L4"]) == 2
    assert "how many tokens does a page's text have?" in capsys.readouterr().err


def test_the_screen_names_the_best(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([*PAGE, "--device", "RTX-3060-12GB", "--precisions", "unquantised,awq,nvfp4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("best     precision=unquantised: most bits a weight") for line in lines)
    assert any(line.startswith("fastest  precision=awq") for line in lines)
    assert any(line.startswith("unquantised *") for line in lines)
    assert any(line.startswith("nvfp4  device RTX-3060-12GB lists no matmul peak for fp4") for line in lines)
    assert max(map(len, lines)) <= 100
