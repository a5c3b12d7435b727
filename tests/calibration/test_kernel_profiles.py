"""Profiles of simulators: which rows are read, of what sizes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmeter.calibration.kernel_profiles import read_profile
from modelmeter.calibration.kernel_rows import all_left_out, pooled
from modelmeter.calibration.kernel_tables import read_tables
from modelmeter.cli.main import main
from modelmeter.devices import load_device
from modelmeter.errors import ModelMeterError
from tests.calibration.made_up import TOKENS, Columns, write_csv, write_llmservingsim, write_vidur

Capture = pytest.CaptureFixture[str]
LLAMA = Path("meta-llama/Llama-3.1-8B/bf16/tp2")
MIXTURE = Path("Qwen/Qwen3-30B-A3B-Instruct-2507/bf16/tp1")


def sizes_of(path: Path, kernel_class: str) -> dict[str, list[float]]:
    rows = pooled([read_profile(path)])[kernel_class]
    return {"seconds": rows.seconds.tolist()} | {name: values.tolist() for name, values in rows.sizes.items()}


def test_dense_layers(tmp_path: Path) -> None:
    """Llama-3.1-8B in two parts: hidden 4096, width 14336, 32 heads and 8 KV heads of 128."""
    layers = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj", "layernorm", "act_fn", "rotary_emb", "embedding"]
    path = write_csv(
        tmp_path / LLAMA / "dense.csv",
        {"layer": layers, "tokens": [10] * 8, "time_us": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]},
    )
    shapes = [(16 * 128 + 8 * 128, 4096), (4096, 2048), (14336, 4096), (4096, 7168)]
    assert sizes_of(path, "gemm") == {
        "seconds": pytest.approx([1e-6, 2e-6, 3e-6, 4e-6]),
        "rows": [10.0] * 4,
        "columns": [n for n, _ in shapes],
        "flops": [2 * 10 * n * k for n, k in shapes],
        "nbytes": [2 * (10 * k + n * k + 10 * n) for n, k in shapes],
    }
    moved = [10 * 2 * each for each in (3 * 4096, 3 * 7168, 2 * (16 + 4) * 128)]
    assert sizes_of(path, "elementwise") == {"seconds": pytest.approx([5e-6, 6e-6, 7e-6]), "nbytes": moved}
    table = read_profile(path)
    assert dict(table.left_out) == {"embedding: a gather, of a table that the cache holds": 1}
    assert table.file == "meta-llama/Llama-3.1-8B/bf16/tp2/dense.csv"
    assert (pooled([table])["gemm"].resident == 2 * sum(n * k for n, k in shapes)).all()


def test_layers_of_sequences(tmp_path: Path) -> None:
    columns: Columns = {"layer": ["lm_head", "sampler"], "sequences": [4, 4], "time_us": [1.0, 2.0]}
    path = write_csv(tmp_path / LLAMA / "per_sequence.csv", columns)
    assert sizes_of(path, "gemm")["columns"] == [64128]
    assert dict(read_profile(path).left_out) == {"sampler: several kernels": 1}


def test_attention(tmp_path: Path) -> None:
    columns: Columns = {
        "prefill_chunk": [16, 32, 0, 16, 0],
        "kv_prefill": [0, 100, 0, 0, 0],
        "n_decode": [0, 0, 8, 8, 0],
        "kv_decode": [0, 0, 300, 300, 0],
        "time_us": [1.0, 2.0, 3.0, 4.0, 5.0],
    }
    path = write_csv(tmp_path / LLAMA / "attention.csv", columns)
    prefill = sizes_of(path, "context_attention")
    assert (prefill["length"], prefill["before"], prefill["batch"]) == ([16, 32], [0, 100], [1, 1])
    assert (prefill["heads"], prefill["kv_heads"], prefill["head_dim"]) == ([16, 16], [4, 4], [128, 128])
    steps = sizes_of(path, "generation_attention")
    assert (steps["keys"], steps["batch"], steps["seconds"]) == ([300], [8], pytest.approx([3e-6]))
    assert dict(read_profile(path).left_out) == {
        "attention: a prefill and decode steps in one call": 1,
        "attention: no tokens": 1,
    }


def test_experts(tmp_path: Path) -> None:
    """128 experts, 8 a token, hidden 2048, width 768."""
    columns: Columns = {"tokens": [1, 16], "activated_experts": [8, 64], "time_us": [50.0, 60.0]}
    sizes = sizes_of(write_csv(tmp_path / MIXTURE / "moe.csv", columns), "moe")
    assert sizes["weight_bytes"] == [2 * 3 * hit * 2048 * 768 for hit in (8, 64)]
    assert sizes["flops"] == [2 * 3 * tokens * 8 * 2048 * 768 for tokens in (1, 16)]
    assert sizes["rows_an_expert"] == [1, 2]
    moved = [2 * (2 * tokens * 2048 + tokens * 8 * (3 * 2048 + 4 * 768)) for tokens in (1, 16)]
    assert sizes["activation_bytes"] == moved


def test_vidur(tmp_path: Path) -> None:
    columns: Columns = {
        "num_tokens": [10, 20, 30],
        "num_tensor_parallel_workers": [1, 2, 1],
        "n_embd": [1024] * 3,
        "n_expanded_embd": [4096] * 3,
        "n_head": [16] * 3,
        "n_kv_head": [16, 16, 4],
        "use_gated_mlp": [True, True, False],
        "time_stats.input_layernorm.median": [0.001, 0.002, None],
        "time_stats.add.median": [0.0, 0.002, 0.003],
        "time_stats.mlp_act.median": [0.001, 0.002, 0.003],
        "time_stats.attn_rope.median": [0.001, 0.002, 0.003],
    }
    path = write_csv(tmp_path / "tiny" / "mlp.csv", columns)
    assert sizes_of(path, "elementwise")["nbytes"] == [
        10 * 2 * 2 * 1024,
        30 * 2 * 3 * 1024,
        *(10 * 2 * 3 * 4096, 20 * 2 * 3 * 2048, 30 * 2 * 2 * 4096),
        *(10 * 2 * 4 * 1024, 20 * 2 * 4 * 512),
    ]
    assert dict(read_profile(path).left_out) == {
        "input_layernorm: not measured": 1,
        "input_layernorm: the same as in one part": 1,
        "add: shorter than the resolution of 1 us": 1,
        "add: the same as in one part": 1,
        "attn_rope: fewer KV heads than heads": 1,
    }


def test_a_folder_of_profiles_is_judged(tmp_path: Path, capsys: Capture) -> None:
    """Times as RTX-4090's constants say: no error but that of the digits."""
    device = load_device("RTX-4090")
    constants = {name: dict(each.values) for name, each in device.kernels.items()}
    write_llmservingsim(tmp_path / LLAMA, constants, device.rates("bf16"))
    write_vidur(tmp_path / "vidur" / "mlp.csv", constants, device.rates("bf16"))
    assert main(["judge", str(tmp_path), "--device", "RTX-4090", "--by", "file", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert {name: each["rows"] for name, each in judged["classes"].items()} == {
        **{"gemm": 4 * len(TOKENS), "gemm_cold": 4 * len(TOKENS), "gemm_ocr": 2 * len(TOKENS)},
        **{"context_attention": 20, "generation_attention": 24, "elementwise": 7 * len(TOKENS)},
    }
    for each in judged["classes"].values():
        assert each["median"] < 1e-9 and each["p90"] < 1e-9
    assert len(judged["files"]) == 3 and judged["files"][str(LLAMA / "dense.csv")]["classes"]
    assert {table.file for table in read_tables(tmp_path)} == set(judged["files"])


@pytest.mark.parametrize(
    "folder, reason",
    [
        ("Qwen/Qwen3-32B/fp8/tp1", "variant fp8, other than bf16"),
        ("a/b/bf16/tp1", "sizes of a/b stand not in modelmeter/calibration/kernel_profiles.py"),
    ],
)
def test_other_variants_and_models_are_left_out(folder: str, reason: str, tmp_path: Path, capsys: Capture) -> None:
    files: dict[str, Columns] = {
        "dense.csv": {"layer": ["o_proj"], "tokens": [1], "time_us": [1.0]},
        "per_sequence.csv": {"layer": ["lm_head"], "sequences": [1], "time_us": [1.0]},
        "moe.csv": {"tokens": [1], "activated_experts": [8], "time_us": [1.0]},
        "attention.csv": {name: [1] for name in ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")},
    }
    for name, columns in files.items():
        write_csv(tmp_path / folder / name, columns)
    found = all_left_out([read_profile(tmp_path / folder / name) for name in files])
    assert found == {f"{what}: {reason}": 1 for what in ("o_proj", "lm_head", "moe", "attention")}
    assert main(["judge", str(tmp_path), "--device", "RTX-4090"]) == 2
    assert f"none of the tables' rows is usable; left out: 1 attention: {reason}" in capsys.readouterr().err


DENSE: Columns = {"layer": ["o_proj", "o_proj"], "tokens": [1, 2], "time_us": [1.0, 2.0]}


@pytest.mark.parametrize(
    "folder, name, columns, text",
    [
        (LLAMA, "dense.csv", {"layer": ["o_proj"], "tokens": [1]}, "has no column time_us; it has layer, tokens, time"),
        (LLAMA, "dense.csv", DENSE | {"time_us": [1.0, 0.0]}, "time_us=0.0 in row 1 is no time; microseconds above 0"),
        (LLAMA, "dense.csv", DENSE | {"time_us": [1.0, None]}, "time_us=nan in row 1 is no time"),
        (LLAMA, "dense.csv", DENSE | {"tokens": [-1, 1]}, "tokens=-1.0 in row 0 is no count; give 0 or more"),
        (LLAMA, "dense.csv", DENSE | {"time_us": ["a", "b"]}, "column time_us holds string, not numbers"),
        (Path("x"), "dense.csv", DENSE, "lies in no folder OWNER/MODEL/bf16/tpN"),
        (LLAMA, "moe.csv", {"tokens": [1], "activated_experts": [8], "time_us": [1.0]}, "its model has no experts"),
        (
            MIXTURE,
            "moe.csv",
            {"tokens": [1], "activated_experts": [4], "time_us": [1.0]},
            "4 experts for 1 tokens in ro",
        ),
    ],
)
def test_profiles_that_cannot_be_read_are_refused(
    folder: Path, name: str, columns: dict[str, list[Any]], text: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelMeterError) as raised:
        read_profile(write_csv(tmp_path / folder / name, columns))
    assert text in str(raised.value)
