"""verify.layers: a wrong layer, a forgotten one or a bad input is seen.

That all lines agree: tests/measured/test_recorded.py.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelmeter.layers import BaseLayer, basic
from modelmeter.layers.decoder import moe
from modelmeter.layers.vision import sam
from modelmeter.models import MODELS, model_package
from modelmeter.models.deepseek_ocr import layer_verification
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import MlpProjector
from modelmeter.operators import silu
from modelmeter.programs.verify import layers
from modelmeter.programs.verify.layers import Failure, LayerRow, gaps
from modelmeter.reference.layer import LayerRun, OperatorRun
from modelmeter.reference.layer_case import LayerCase, defined_below, tree
from modelmeter.shape_tensor import ShapeTensor
from tests.programs.results import result_file

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/verify-layers.md").read_text(encoding="utf-8")
MODULE = "modelmeter.programs.verify.layers"
VERIFICATION = layer_verification()
EXECUTIONS = ("transformers", "published")
NAMES = [each.__name__ for each in VERIFICATION.classes()]


def program(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["layers", *arguments])
    monkeypatch.chdir(folder)
    try:
        layers.main()
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code
    return 0


def result_in(folder: Path) -> Any:
    return json.loads(result_file(folder, "verify_layers", "verify_layers.json").read_text())


def cases_of(execution: str) -> Iterator[LayerCase]:
    return VERIFICATION.cases(execution)


def test_the_classes_are_found() -> None:
    assert len(NAMES) > 30
    # below a subclass, and in files that nothing else imports
    assert {"LayerNorm2d", "GroupedQueryAttention", "DeepseekOCRModel"} <= set(NAMES)


def test_every_layer_of_several_models_is_one_models_at_least() -> None:
    models: list[Any] = [model_package(name).load_cost_model() for name in MODELS]
    models.append(
        model_package("glm_ocr").load_cost_model(
            ["execution=vllm", "runtime.draft=mtp", "runtime.draft_tokens=1", "runtime.accepted_tokens=1"]
        )
    )
    # or what one of a model's layers derives from
    held = {kind for model in models for layer in tree(model.model) for kind in type(layer).__mro__}
    assert [each.__name__ for each in defined_below("modelmeter.layers") if each not in held] == []


def test_a_run_of_another_execution(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(monkeypatch, tmp_path, "execution=published", "layers=[RotaryEmbedding]") == 0
    assert "1 of 1 layer classes verified" in capsys.readouterr().out
    result = result_in(tmp_path)
    assert result["execution"] == "published"
    tokens = 913
    assert result["lines"][0]["flops"]["measured"] == 2 * 64 * tokens  # the product that transformers does not have


def test_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(monkeypatch, tmp_path, "layers=[MoEGate,GroupedQueryAttention]") == 0
    printed = capsys.readouterr().out
    assert "2 of 2 layer classes verified, 0 excused" in printed
    assert "worst difference 0 FLOPs, 0 bytes moved, 0 peak bytes (tolerance 0)" in printed
    result = result_in(tmp_path)
    assert (result["schema_version"], result["execution"], result["tolerance"]) == (1, "transformers", 0.0)
    assert (result["failures"], result["missing"], result["excused"]) == ([], [], {})
    lines = {(line["layer"], line["first_input"], line["dtype"]): line for line in result["lines"]}
    gate = lines["MoEGate", "1x913x1280", "bfloat16"]
    flops = 2 * 913 * 1280 * 64
    assert gate["flops"] == {"analytic": flops, "measured": flops, "difference": 0}
    assert gate["output_shapes"]["measured"] == [[913, 64], [913, 6], [913, 6]]
    assert gate["attention"] == "" and gate["agrees"]
    eager = lines["GroupedQueryAttention", "1x1x1280 after 913", "float32"]
    assert eager["attention"] == "eager"
    assert eager["output_shapes"]["analytic"] == [[1, 1, 1280], [1, 10, 1, 914]]


def forgetful(self: MlpProjector, x: ShapeTensor) -> ShapeTensor:
    """The projector's forward pass, but that it does not keep its features while the layers run."""
    if self.projector_type != "downsample_mlp_gelu":
        return FORWARD(self, x)
    x = self.downsample(x)
    for layer in self.layers:
        x = layer(x)
    return x


FORWARD = MlpProjector.forward
MUTATIONS = {  # what is wrong                            where                                   what is said of it
    "another operator of the same size": (
        (sam, "gelu", silu),
        "MLPBlock (sam_model.blocks.0.mlp), 1x64x64x768, bfloat16: operator 2: the layer runs aten.silu.default "
        "(12,582,912 elements, 25,165,824 bytes read, 25,165,824 written, 50,331,648 alive after it), the module "
        "aten.gelu.default (12,582,912 elements, 25,",
    ),
    "an operator left out": (
        (basic, "rsqrt", lambda x: x),
        "RMSNorm (norm), 1x913x1280, bfloat16: operator 5: the layer runs aten.mul.Tensor",
    ),
    "a lifetime": (
        (MlpProjector, "forward", forgetful),
        "MlpProjector (plain torch: downsample_mlp_gelu), 6x100x2048, depth 2, bfloat16: operator 5: the layer runs "
        "aten.gelu.default (192,000 elements, 384,000 bytes read, 384,000 written, 768,000 alive after it), the module "
        "aten.gelu.default (192,000 elements, 384,000 bytes read, 384,000 written, 3,225,600 alive after it)",
    ),
    "a shape that cannot be": (
        (moe, "gate_product", lambda x, weight: x.view(7)),
        "MoEGate (layers.1.mlp.gate), 1x913x1280, bfloat16: ShapeTensor([913, 1280], strides=[1280, 1], float32) has "
        "1168640 elements and cannot take the shape [7]",
    ),
}


@pytest.mark.parametrize("mutation, text", MUTATIONS.values(), ids=MUTATIONS)
def test_a_wrong_layer_is_seen(
    mutation: tuple[object, str, Any],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(*mutation)
    name = text.partition(" ")[0]
    assert program(monkeypatch, tmp_path, f"layers=[{name}]") == 1
    printed = capsys.readouterr()
    assert f"error: {text}" in printed.err
    assert "0 of 1 layer classes verified" in printed.out
    result = result_in(tmp_path)
    assert result["failures"] or not all(line["agrees"] for line in result["lines"])


PLACE = "modelmeter.models.deepseek_ocr.layers.vision.vit_model"


@pytest.fixture
def forgotten() -> Iterator[type[BaseLayer]]:
    """A layer of the package that nobody has verified."""
    made = type("Forgotten", (BaseLayer,), {"__module__": PLACE, "forward": lambda self, x: x})
    yield made
    made.__module__ = __name__  # of the package no more, should it outlive the test


def test_a_class_that_is_left_out_fails_the_run(
    forgotten: type[BaseLayer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forgotten in VERIFICATION.classes()
    assert program(monkeypatch, tmp_path, "layers=[MoEGate,Forgotten]") == 1
    text = f"Forgotten ({PLACE}) is neither verified nor excused"
    assert text in capsys.readouterr().err
    assert result_in(tmp_path)["missing"][0].startswith(text)


A_RUN = LayerRun(
    flops=100,
    traffic_bytes=50,
    peak_bytes=20,
    peak_operator="aten.mm.default",
    operators=(OperatorRun(operator="aten.mm.default", elements=40, read_bytes=30, written_bytes=20, live_bytes=20),),
    shapes=((2, 3),),
)


def test_what_keeps_a_run_from_being_complete(forgotten: type[BaseLayer]) -> None:
    rows = [LayerRow(case=case, analytic=A_RUN, measured=A_RUN) for case in cases_of("transformers")]
    classes = VERIFICATION.classes()
    stateless = VERIFICATION.stateless
    assert [gap.partition(" ")[0] for gap in gaps(classes, rows, stateless, {})] == ["Forgotten"]
    assert list(gaps(classes, rows, stateless, {"Forgotten": "is not run"})) == []
    stale = list(gaps(classes, rows, stateless, {"Forgotten": "is not run", "Gelu": "is not run"}))
    assert len(stale) == 1 and stale[0].startswith("Gelu (") and "is excused, but it states" in stale[0]


def test_a_class_of_which_nothing_was_measured_is_not_verified() -> None:
    nothing = replace(A_RUN, flops=0, traffic_bytes=0, peak_bytes=0, operators=())
    case = next(cases_of("transformers"))
    for result in (LayerRow(case=case, analytic=nothing, measured=nothing), Failure(case=case, error="x")):
        said = list(gaps([type(case.layer)], [result], {}, {}))
        assert len(said) == 1 and "anything was measured" in said[0]


OTHERS = {  # a measured run that the analytic one agrees with at tolerance 0, at 0.1
    "itself": (A_RUN, True, True),
    "FLOPs": (replace(A_RUN, flops=95), False, True),
    "far FLOPs": (replace(A_RUN, flops=90), False, False),
    "traffic": (replace(A_RUN, traffic_bytes=48), False, True),
    "peak": (replace(A_RUN, peak_bytes=19), False, True),
    "nothing measured": (replace(A_RUN, flops=0), False, False),
    "the operator at the peak": (replace(A_RUN, peak_operator="aten.bmm.default"), False, True),
    "a shape": (replace(A_RUN, shapes=((3, 2),)), False, False),
    "one shape less": (replace(A_RUN, shapes=()), False, False),
    "an operator": (
        replace(A_RUN, operators=(replace(A_RUN.operators[0], operator="aten.bmm.default"),)),
        False,
        False,
    ),
    "an operator's elements": (replace(A_RUN, operators=(replace(A_RUN.operators[0], elements=39),)), False, True),
    "an operator's bytes": (replace(A_RUN, operators=(replace(A_RUN.operators[0], read_bytes=29),)), False, True),
    "what is alive after an operator": (
        replace(A_RUN, operators=(replace(A_RUN.operators[0], live_bytes=19),)),
        False,
        True,
    ),
    "one operator more": (replace(A_RUN, operators=A_RUN.operators * 2), False, False),
}


@pytest.mark.parametrize("measured, exactly, nearly", OTHERS.values(), ids=OTHERS)
def test_what_agrees(measured: LayerRun, exactly: bool, nearly: bool) -> None:
    row = LayerRow(case=next(cases_of("transformers")), analytic=A_RUN, measured=measured)
    assert (row.agrees(0), row.agrees(0.1)) == (exactly, nearly)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (("layers=[Blok]",), 'there is no layer Blok; did you mean "Block"'),
        (("layers=[LayerList]",), "LayerList cannot be verified: it states no forward pass"),
        (("layers=Block",), r"layers=Block is no list of classes; write layers=[MixtureOfExperts,Block]"),
        (("tolerance=-1",), "tolerance=-1 is no share of the measured value"),
        (("tolerance=much",), "tolerance=much is no share of the measured value"),
        (("toleranse=1",), 'did you mean "tolerance"'),
        (("workload=tiny",), "leave everything but execution= as it is"),
        (("runtime.dtype=float32",), "leave everything but execution= as it is"),
        (("execution=published", "layers=[Experts]"), "Experts cannot be verified: it is not run"),
        (("execution=serving",), "execution=serving has no code here to measure"),
    ],
)
def test_bad_input(
    arguments: tuple[str, ...],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert program(monkeypatch, tmp_path, *arguments) == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.rglob("verify_layers.json"))


def test_the_page_shows_the_programs_output(tmp_path: Path) -> None:
    command, shown = re.findall(r"```(?:console|text)\n(.*?)```", PAGE, flags=re.DOTALL)[:2]
    arguments = [word.strip("'") for word in command.split() if word.startswith("'layers=")]
    assert MODULE in command and len(arguments) == 1
    run = [sys.executable, "-m", MODULE, *arguments]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    folder = result_file(tmp_path, "verify_layers", "verify_layers.json").parent
    printed = done.stdout.replace(str(folder), "outputs/verify_layers/DATE_TIME")
    assert [line.rstrip() for line in printed.splitlines() if line.strip()] == shown.splitlines()
