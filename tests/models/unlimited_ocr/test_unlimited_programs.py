"""Programs of any model, asked of Unlimited-OCR: verification around its window, layers, sweeps, real passes."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from modelmeter.cli.main import main
from modelmeter.layers.decoder import masks
from modelmeter.models.unlimited_ocr import load_cost_model, real_page, whole_model
from modelmeter.models.unlimited_ocr.reference import real_page as real_pages
from modelmeter.programs.sweep import grids, modes
from modelmeter.programs.verify.end2end import PageVerifier

pytestmark = pytest.mark.slow

SMALL = ("decoder.num_hidden_layers=2", "sizes=[[300,200]]")
Verify = Callable[..., tuple[int, Any]]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """`modelmeter verify` of this model: exit status and content."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # as in a new process

    def run(program: str, *arguments: str) -> tuple[int, Any]:
        status = main(["verify", program, "--model", "unlimited_ocr", "--json", *arguments])
        out = capsys.readouterr().out
        return status, json.loads(out) if out else None

    return run


def test_every_step_agrees_before_and_after_the_window_is_full(verify: Verify) -> None:
    status, document = verify("end2end", *SMALL, "decoder.sliding_window=4", "output_tokens=6")
    result = document["result"]
    assert (status, result["worst_difference"], result["model"], document["model"]) == (0, 0, *["unlimited_ocr"] * 2)
    (page,) = result["pages"]
    assert [step["context"] for step in page["steps"]] == list(range(283, 289))
    added = [step["kv_added_bytes"]["measured"] for step in page["steps"]]
    assert added[:3] == [2 * 2 * 1280 * 2] * 3 and added[4:] == [0, 0]  # layers, keys and values, width, bytes
    assert page["stages"]["vision"]["peak_path"]["measured"].startswith("global.sam_model")


def test_a_step_far_into_the_window_without_those_before_it(verify: Verify) -> None:
    status, document = verify("end2end", *SMALL, "first_step=200", "output_tokens=202")
    (page,) = document["result"]["pages"]
    assert (status, document["result"]["worst_difference"]) == (0, 0)
    assert [step["context"] for step in page["steps"]] == [483, 484]
    assert page["steps"][0]["seq_len"] == {"analytic": 484, "measured": 484, "difference": 0}


def test_the_parts_of_a_page_with_tiles(verify: Verify) -> None:
    status, document = verify("vision", "sizes=[[1275,700]]", "detail=blocks")
    (page,) = document["result"]["pages"]
    assert (status, document["result"]["worst_difference"]) == (0, 0)
    rows = {row["name"]: row["measured_flops"] for row in page["modules"]}
    assert rows["global.sam_model"] == 976_909_172_736
    assert rows["local.projector"] == 2 * page["layout"]["num_local_patches"] * 100 * 2048 * 1280
    blocks = [flops for name, flops in rows.items() if name.startswith("local.vision_model.")]
    assert int(rows["local.vision_model"]) == sum(map(int, blocks))


def test_a_wrong_walk_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "prefilled", masks.causal)
    model = load_cost_model(["decoder.num_hidden_layers=1"])
    verifier = PageVerifier(model, whole_model(model), 1)
    page = model.page(300, 200, 1)
    assert [stage.name for stage in verifier.stages(page) if not stage.agrees(0)] == ["prefill", "decode"]


@pytest.mark.parametrize(
    "arguments, text",
    [
        (("end2end", *SMALL, "vision.sam.mlp_dim=1000"), "changes vision.*"),
        (("end2end", *SMALL, "execution=serving"), "has no code here to measure"),
        (("end2end", *SMALL, "first_step=3", "output_tokens=3"), "first_step=3 leaves none of output_tokens=3 steps"),
        (("vision", *SMALL, "reference.name=published"), "reference=published: this model has no such modules"),
        (("end2end", *SMALL, "model=deepseek_ocr"), "model=deepseek_ocr asks for deepseek_ocr; give one of the two"),
        (("layers", "layers=[MlpProjector]"), "there is no layer MlpProjector"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    program, *others = arguments
    assert main(["verify", program, "--model", "unlimited_ocr", *others]) == 2
    assert text in capsys.readouterr().err


def test_a_real_page_runs_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    vision: dict[str, Any] = {
        "encoder_config": {"num_hidden_layers": 1},
        "sam_config": {"num_hidden_layers": 1, "global_attn_indexes": [0]},
    }
    monkeypatch.setattr(real_pages, "UnlimitedOcrConfig", partial(real_pages.UnlimitedOcrConfig, vision_config=vision))
    small = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 2}
    few = {"intermediate_size": 64, "moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2}
    overrides = [f"decoder.{name}={value}" for name, value in {**small, **few, "vocab_size": 1000}.items()]
    model = load_cost_model([*overrides, "runtime.dtype=float32"])
    cost = model.page(300, 200)
    page = real_page(model, cost, "cpu")
    with torch.no_grad():
        (features,) = page.vision().pooler_output
        assert tuple(features.shape) == (cost.tokens.total, 64)
        assert page.context == cost.seq_len
        for _ in range(3):
            assert page.decode_step().past_key_values.get_seq_length() == cost.seq_len + 1


@pytest.mark.parametrize("module, name", [(modes, "modes"), (grids, "grids")])
def test_sweeps(module: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    limits = ["workload.max_patches=4"] if name == "grids" else []
    monkeypatch.setattr(sys, "argv", ["sweep", "model=unlimited_ocr", "figures=false", *limits])
    module.main()
    (file,) = tmp_path.glob(f"outputs/sweep_{name}/*/{name}.json")
    rows = json.loads(file.read_text())["rows"]
    labels = {
        "modes": ["tiles", "whole"],
        "grids": ["1x1", "1x2", "2x1", "1x3", "3x1", "1x4", "2x2", "4x1"],
    }
    assert [row["label"] for row in rows] == labels[name]
    if name == "grids":
        assert [row["grid"] for row in rows] == labels[name]
    for row in rows:
        model = load_cost_model([f"workload.crop_to_patches={str(row['crop_to_patches']).lower()}", *limits])
        cost = model.page(row["width"], row["height"], row["output_tokens"])
        assert row["image_tokens"] == cost.tokens.total
        parts = row["components"]
        for stage in ("prefill", "decode"):
            work = sum(int(part["tensor_core_flops"]) for part in parts[stage].values())
            assert work == getattr(cost, stage).tensor_core_flops
