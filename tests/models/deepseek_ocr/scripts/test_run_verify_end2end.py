"""run_verify_end2end: the comparison of whole pages, and the program as a user runs it.

What real modules do in every mode, grid, architecture and runtime is stored: tests/measured.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmeter import operators
from modelmeter.errors import ModelMeterError
from modelmeter.layers.basic import LMHead
from modelmeter.layers.decoder import cache
from modelmeter.layers.decoder import rotary as rotary_embedding
from modelmeter.models.common import vision_language
from modelmeter.models.deepseek_ocr import load_cost_model, whole_model
from modelmeter.models.deepseek_ocr.scripts.verify import run_verify_end2end, run_verify_end2end_vision
from modelmeter.operators import add, clone
from modelmeter.programs.verify.end2end import PageVerifier
from modelmeter.programs.verify.program import stage_lines
from modelmeter.reference.comparison import KINDS, Compared, StageRow, cuda_core_flops
from modelmeter.reference.elements import COUNTED_BY
from modelmeter.shape_tensor import ACTIVATION, ShapeTensor
from tests.programs.results import result_file

DOCUMENT = (Path(__file__).parents[4] / "docs" / "verify.md").read_text(encoding="utf-8")
LETTER = (1275, 1650)
#: one dense and one MoE layer: where the architecture is not the point
SMALL = ("decoder.num_hidden_layers=2", "decoder.vocab_size=1000")
#: a page of one small view
TINY = (*SMALL, "workload=tiny", "workload.image_size=320")


def verified(size: tuple[int, int], *overrides: str, output_tokens: int = 10) -> PageVerifier:
    """Hold every figure of a page against the real model: differences of 0, and the same operators in order."""
    model = load_cost_model(overrides)
    verifier = PageVerifier(model, whole_model(model), output_tokens)
    page = verifier.cost_model.page(*size, output_tokens)
    modules = [row for rows in verifier.modules(page).values() for row in rows]
    stages, steps = verifier.stages(page), verifier.steps(page)
    assert len(steps) == output_tokens
    for row in (*modules, *stages, *steps):
        assert row.agrees(0), row
    for stage, row in zip((page.vision, page.prefill, page.decode), stages, strict=True):
        listed = [each for name, rows in verifier.modules(page).items() if name == row.name for each in rows]
        assert sum(each.analytic_flops for each in listed) == stage.tensor_core_flops
        assert sum(each.measured_flops for each in listed) == row.compared["tensor_core_flops"].measured
    return verifier


def test_a_batch_of_pages_with_crops() -> None:
    verified((600, 1200), *SMALL, "workload.image_size=320", "runtime.batch_size=2", output_tokens=1)


def test_no_output_is_a_page_without_steps() -> None:
    verifier = verified(LETTER, *TINY, output_tokens=0)
    page = verifier.cost_model.page(*LETTER)
    decode = verifier.stages(page)[2]
    assert decode.compared["kv_bytes"].measured == page.prefill.kv_bytes > 0


def test_equal_layouts_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = verified(LETTER, *TINY, output_tokens=1)
    monkeypatch.setattr(type(verifier.whole), "prefill", None)
    assert all(row.agrees(0) for row in verifier.stages(verifier.cost_model.page(640, 480, 1)))


# -- the program ----------------------------------------------------------------------------------------------------


def test_the_published_model_as_a_user_runs_it(tmp_path: Path) -> None:
    module = run_verify_end2end.__name__
    command = [sys.executable, "-m", module, "sizes=[[1275,1650]]"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "grid 2x3, 7 views, 903 image tokens" in done.stdout
    assert "10 of 10 steps agree (913 positions before the first)" in done.stdout
    assert "differs" not in done.stdout
    shown, printed = DOCUMENT.split("```text\n")[1].split("```")[0], iter(done.stdout.splitlines())
    for line in shown.splitlines():  # in this order, with nothing left out but where a line in brackets says so
        assert line.startswith("[...") or any(each.rstrip().startswith(line) for each in printed), line
    result = json.loads(result_file(tmp_path, "verify_end2end", "verify.json").read_text())
    assert (result["schema_version"], result["worst_difference"], result["bad_pages"]) == (1, 0, [])
    page = result["pages"][0]
    assert (page["seq_len"], page["output_tokens"]) == (913, 10)
    modules = {(module["stage"], module["name"]): module for module in page["modules"]}
    prefill = [modules["prefill", name]["measured_flops"] for name in ("layers (dense)", "layers (MoE)")]
    assert sum(prefill) == 797_349_048_320  # FACTS: a prefill of 913 without head
    assert modules["prefill", "lm_head"]["measured_flops"] == 2 * 1280 * 129_280
    assert modules["vision", "crops.sam_model"]["analytic_flops"] == 1_953_724_760_064
    position_bytes = 12 * 2 * 10 * 128 * 2
    for stage, seq_len in (("prefill", 913), ("decode", 923)):
        kv_bytes = seq_len * position_bytes
        figures = page["stages"][stage]
        assert figures["kv_bytes"] == {"analytic": kv_bytes, "measured": kv_bytes, "difference": 0}
        assert figures["seq_len"] == {"analytic": seq_len, "measured": seq_len, "difference": 0}
        assert figures["peak_operator"]["analytic"] == figures["peak_operator"]["measured"]
    steps = page["steps"]
    assert [step["context"] for step in steps] == list(range(913, 923))
    after_903, more = 872_775_680, 12 * 4 * 1280  # FACTS: a step after 903; each position more
    assert [step["tensor_core_flops"]["measured"] for step in steps] == [
        after_903 + more * (10 + index) + 2 * 1280 * 129_280 for index in range(10)
    ]
    assert page["stage_cost"]["total"]["kv_bytes"] == 923 * position_bytes


def test_pages_good_and_bad(tmp_path: Path, program: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    status, result = program(run_verify_end2end, *TINY, "sizes=[[9,9],[0,9]]", f"images=[{broken}]", "output_tokens=1")
    assert status == 1
    assert [page["source"] for page in result["pages"]] == ["9x9"]
    assert len(result["bad_pages"]) == 2
    errors = capsys.readouterr().err
    assert "broken.png" in errors
    assert "Traceback" not in errors


def test_only_bad_pages_verify_nothing(tmp_path: Path, program: Callable[..., Any]) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    for module in (run_verify_end2end, run_verify_end2end_vision):
        status, result = program(module, f"images=[{tmp_path / 'broken.png'}]")
        assert status == 2
        assert result["pages"] == []
        assert "broken.png" in result["bad_pages"][0]["error"]


def test_a_context_beyond_the_limit_is_a_bad_page(program: Callable[..., Any]) -> None:
    status, result = program(
        run_verify_end2end, *TINY, "sizes=[[9,9]]", "decoder.max_position_embeddings=50", "output_tokens=10"
    )
    assert status == 2
    assert "output_tokens may be up to 9" in result["bad_pages"][0]["error"]


UNUSABLE = [
    ("output_tokens=-1", "output_tokens=-1 is no number of tokens"),
    ("output_tokens=ten", "output_tokens='ten' is no number of tokens"),
    ("tolerance=-1", "tolerance=-1 is no share"),
    ("output_token=1", 'did you mean "output_tokens"'),
    ("decoder.num_attention_heads=30", "num_attention_heads=30"),
    ("decoder.num_experts_per_tok=65", "num_experts_per_tok=65 is more than n_routed_experts=64"),
    ("decoder.num_key_value_heads=5 runtime.attention=eager", "eager with 5 KV heads for 10 heads cannot run"),
    ("decoder.moe_intermediate_size=900", "moe_intermediate_size=900 is no multiple of 8"),
    ("runtime.experts_hit=uniform", "experts_hit=uniform is an assumption"),
    ("runtime.head=first", "head=first is unknown"),
    ("execution=serving", "execution=serving has no code here to measure"),
    ("vision.clip.num_layers=3", "measures the published architecture only"),
    ("sizes=[]", "there is no page; give images="),
]


@pytest.mark.parametrize("overrides, text", UNUSABLE, ids=[each[0] for each in UNUSABLE])
def test_unusable_input(
    overrides: str, text: str, program: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    status, result = program(run_verify_end2end, "sizes=[[9,9]]", *overrides.split())
    assert (status, result) == (2, None)
    errors = capsys.readouterr().err
    assert text in errors
    assert len(errors.strip().splitlines()) == 1


def more_flops(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = LMHead.forward

    def twice(self: LMHead, hidden_states: ShapeTensor) -> ShapeTensor:
        plain(self, hidden_states)
        return plain(self, hidden_states)

    monkeypatch.setattr(LMHead, "forward", twice)


def more_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = vision_language.placeholder_mask
    monkeypatch.setattr(vision_language, "placeholder_mask", lambda ids: plain(add(ids)))


def higher_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = vision_language.placeholder_mask
    held: list[ShapeTensor] = []

    def holding(ids: ShapeTensor) -> ShapeTensor:
        held.append(add(ids))  # lives on through the whole stage
        return plain(ids)

    monkeypatch.setattr(vision_language, "placeholder_mask", holding)


def smaller_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "KV", ACTIVATION)


def another_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = LMHead.forward
    monkeypatch.setattr(LMHead, "forward", lambda self, x: plain(self, clone(x)))


def more_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = LMHead.__init__

    def with_bias(self: LMHead, hidden_size: int, vocab_size: int, *tied: Any, **common: Any) -> None:
        plain(self, hidden_size, vocab_size, *tied, **common)
        self.bias = self.parameter(vocab_size)

    monkeypatch.setattr(LMHead, "__init__", with_bias)


def another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same elements, of an operator that the table rates otherwise."""
    monkeypatch.setattr(
        rotary_embedding, "neg", lambda x: operators._pointwise("cos", "aten.neg.default", (x,), x.dtype)
    )


MUTATIONS = [
    more_flops,
    more_traffic,
    higher_peak,
    smaller_cache,
    another_operator,
    more_weights,
    another_kind,
]


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_a_wrong_model_is_found(
    mutate: Callable[[pytest.MonkeyPatch], None],
    program: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mutate(monkeypatch)
    status, result = program(run_verify_end2end, *TINY, "sizes=[[9,9]]", "output_tokens=1", "runtime.prompt_tokens=900")
    assert status == 1
    assert "differs" in capsys.readouterr().out
    assert result["worst_difference"] > 0


def test_a_tolerance_lets_small_differences_pass(program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    more_traffic(monkeypatch)
    status, result = program(run_verify_end2end, *TINY, "sizes=[[9,9]]", "output_tokens=0", "tolerance=1e-3")
    assert status == 0
    assert result["worst_difference"] > 0


def test_the_documented_output_of_the_vision_program(
    program: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(run_verify_end2end_vision, "sizes=[[640,480]]")[0] == 0
    shown = DOCUMENT.split("```text\n")[2].split("```")[0].splitlines()
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert printed[:-1] == shown[:-1]
    assert printed[-1].startswith(shown[-1])


def test_every_key_that_is_documented_is_written(program: Callable[..., Any]) -> None:
    _, result = program(run_verify_end2end, *TINY, "sizes=[[9,9]]", "output_tokens=1")
    table = DOCUMENT.split("## verify.json")[1]
    page = result["pages"][0]
    for holder in (result, page, page["stages"]["decode"], page["modules"][0]):
        for key in holder:
            assert f"`{key}`" in table or f".{key}" in table or f"`{key}[]`" in table, key


def test_a_note_says_what_a_gpu_does_otherwise(program: Callable[..., Any]) -> None:
    overrides = ("runtime.dtype=float16", "runtime.attention=eager", "output_tokens=0")
    status, result = program(run_verify_end2end, *TINY, "sizes=[[9,9]]", *overrides)
    assert status == 0
    assert result["notes"][0].startswith("float16 with attention=eager")


def test_what_agrees() -> None:
    assert Compared(101, 100).agrees(0.01)
    assert not Compared(102, 100).agrees(0.01)
    assert not Compared(1, 0).agrees(1e9)

    def stage(operator: str = "aten.mm", path: str = "a.b", elements: int = 5) -> StageRow:
        return StageRow(
            name="x",
            compared={},
            elements={"aten.add.Tensor": Compared(5, elements)},
            peak_operator=("aten.mm", operator),
            peak_path=("a.b", path),
            peak_module="",
        )

    assert stage().agrees(0)
    for other in (stage(operator="aten.add"), stage(path="a.c"), stage(elements=6)):
        assert not other.agrees(0)
        assert other.agrees(0.5)
    assert stage_lines(stage(path="", elements=6), 0) == [
        "x: peak at a.b (aten.mm), measured at the model itself (aten.mm): [bold red]differs[/]",
        "x: elements of aten.add.Tensor: 5, measured 6, difference -1: [bold red]differs[/]",
    ]


def test_every_kind_of_operator_is_rated_once() -> None:
    """By hand: 2 sums, 3 sigmoids of 3 FLOPs, a cast; and an operator that nobody rated."""
    assert cuda_core_flops({"aten.add.Tensor": 2, "aten.sigmoid.default": 3, "aten._to_copy.default": 7}) == 2 + 9
    of_engines = {
        "quantise",
        "dequantise",
        "all_reduce",
        "all_gather",
    }  # the reference is one device, and packs nothing
    assert {*KINDS.values(), *of_engines} == set(operators.FLOPS_PER_ELEMENT)
    assert {name for group in COUNTED_BY.values() for name in group} >= set(KINDS)
    with pytest.raises(ModelMeterError, match=r"operator aten.erf.default has no kind.* add it to KINDS"):
        cuda_core_flops({"aten.erf.default": 1})
