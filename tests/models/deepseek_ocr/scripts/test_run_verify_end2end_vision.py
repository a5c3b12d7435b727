"""run_verify_end2end_vision as a user runs it: a process, its output, its exit status, its file."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.layers.vision.tower import VisionTower
from modelmeter.models.deepseek_ocr import load_cost_model, whole_model
from modelmeter.models.deepseek_ocr.scripts.verify import run_verify_end2end_vision
from modelmeter.operators import clone
from modelmeter.page_sizes import read_page_size
from modelmeter.programs.verify.vision import VisionVerifier
from modelmeter.reference.comparison import Compared, Row
from tests.measured.cases import CASES, DEEPSEEK_SMALL
from tests.programs.results import result_file

REFERENCE = {"name": "transformers", "folder": "", "trust_remote_code": False}
PROGRAM = run_verify_end2end_vision.__name__


def verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_pages_good_and_bad(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: stored 1650 x 1275, read 1275 x 1650
    Image.new("L", (1650, 1275)).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "empty.png").touch()
    done = verify(tmp_path, "images=[turned.jpg,empty.png,none.png]", "sizes=[[640,480],[0,4]]", "detail=blocks")
    assert done.returncode == 1
    assert "grid 2x3, 7 views, 903 image tokens" in done.stdout
    assert "2 of 5 pages verified" in done.stdout
    for bad in ("empty.png", "none.png", "width=0"):
        assert bad in done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error"] * 3
    result = json.loads(result_file(tmp_path, "verify_end2end_vision", "verify.json").read_text())
    assert [(page["source"], page["width"], page["height"]) for page in result["pages"]] == [
        ("turned.jpg", 1275, 1650),
        ("640x480", 640, 480),
    ]
    page = result["pages"][0]
    assert page["layout"] == {"num_views_total": 7, "w_crop": 2, "h_crop": 3}
    assert page["tokens"]["total"] == 903
    modules = {module["name"]: module for module in page["modules"]}
    assert modules["crops.sam_model"]["analytic_flops"] == modules["crops.sam_model"]["measured_flops"] == 1953724760064
    assert {"global.sam_model.blocks.11", "crops.vision_model.transformer.layers.23"} <= modules.keys()
    peak = {"analytic": 855_244_800, "measured": 855_244_800, "difference": 0}  # MEASURING, section 7
    assert modules["crops.sam_model"]["activation_peak_bytes"] == peak
    one_view = ("global.sam_model", "global.vision_model", "global.projector")
    joined = 2 * 256 * 2048 * 2  # the two towers' features, read and written side by side
    assert sum(modules[name]["io_bytes"]["measured"] for name in one_view) + joined == 13_513_631_888
    stage = page["stages"]["vision"]
    assert stage["io_bytes"]["difference"] == stage["activation_peak_bytes"]["difference"] == 0
    assert stage["peak_operator"] == {"analytic": "aten.clone.default", "measured": "aten.clone.default"}
    assert page["stage_cost"]["tensor_core_flops"] == 3468866060288
    assert (result["worst_difference"], result["tolerance"]) == (0, 0.0)
    assert len(result["bad_pages"]) == 3


def test_the_bundled_pages_are_measured() -> None:
    """`make demo` verifies them; each has a layout of its own, whose stages are among the committed measurements."""
    folder = Path(__file__).parents[4] / "examples/pages"
    pages = [read_page_size(path) for path in folder.iterdir() if path.suffix in (".png", ".jpg")]
    model = load_cost_model()
    layouts = {model.page(page.width, page.height).layout for page in pages}
    assert len(layouts) == len(pages) >= 6
    sizes = [case.size for case in CASES if case.overrides in ((), DEEPSEEK_SMALL) and case.model == "deepseek_ocr"]
    assert layouts <= {model.page(*size).layout for size in sizes if size}


@pytest.mark.parametrize(
    "arguments, text",
    [
        ((), "there is no page; give images="),
        (("workload=gundem", "sizes=[[9,9]]"), 'did you mean "gundam"'),
        (("detail=all", "sizes=[[9,9]]"), "detail=all is unknown"),
        (("execution=serving", "sizes=[[9,9]]"), "execution=serving has no code here to measure"),
        (("tolerance=-1", "sizes=[[9,9]]"), "tolerance=-1 is no share"),
        (("toleranse=1", "sizes=[[9,9]]"), 'did you mean "tolerance"'),
        (("reference=published", "sizes=[[9,9]]"), "no file models/deepseek-ocr/deepencoder.py"),
        (("vision.clip.num_layers=3", "sizes=[[9,9]]"), "measures the published architecture only"),
    ],
)
def test_nothing_to_verify(
    arguments: tuple[str, ...], text: str, program: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(run_verify_end2end_vision, *arguments) == (2, None)
    errors = capsys.readouterr().err
    assert text in errors
    assert len(errors.strip().splitlines()) == 1


def row(analytic: int, measured: int, shape: tuple[int, ...] = (1,)) -> Row:
    return Row(name="x", analytic_flops=analytic, measured_flops=measured, analytic_shape=(1,), measured_shape=shape)


def test_what_agrees() -> None:
    assert row(100, 100).agrees(0)
    assert not row(101, 100).agrees(0)
    assert row(101, 100).agrees(0.01)
    assert not row(102, 100).agrees(0.01)
    assert not row(1, 0).agrees(1e9)  # nothing measured as zero passes
    assert not row(100, 100, (2,)).agrees(1)


def test_rows_hold_traffic_and_peak_too() -> None:
    agreeing, differing = Compared(5, 5), Compared(5, 6)
    for name in ("io", "peak"):
        assert replace(row(1, 1), **{name: agreeing}).agrees(0)
        assert not replace(row(1, 1), **{name: differing}).agrees(0)


@pytest.mark.parametrize("place", ["peak_operator", "peak_path"])
def test_rows_hold_where_the_peak_is(place: str) -> None:
    assert replace(row(1, 1), **{place: ("a", "a")}).agrees(0)
    elsewhere = replace(row(1, 1), **{place: ("a", "b")})
    assert (elsewhere.agrees(0), elsewhere.agrees(0.1)) == (False, True)


STAND_IN = """
from torch import nn
from modelmeter.models.deepseek_ocr.reference.replica import Clip, Sam

class CalledAsPublished(Clip):
    def forward(self, pixels, sam_map):
        return super().forward(sam_map)

class MlpProjector(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.layers = nn.Linear(cfg.input_dim, cfg.n_embed)
    def forward(self, x):
        return self.layers(x)

build_sam_vit_b, build_clip_l = Sam, CalledAsPublished
"""


def published(folder: Path, *overrides: str) -> VisionVerifier:
    """The way of the published files, with the replica's modules in their place."""
    (folder / "deepencoder.py").write_text(STAND_IN)
    reference = {"name": "published", "folder": str(folder), "trust_remote_code": True}
    model = load_cost_model(overrides)
    return VisionVerifier(model, whole_model(model), reference)


def test_published_code_page_after_page(tmp_path: Path) -> None:
    verifier = published(tmp_path, "execution=published", "runtime.batch_size=2")
    assert verifier.same_code and "replica" in verifier.notes()[0]
    page = verifier.cost_model.page(600, 1200)
    blocks = {row.name: row for row in verifier.rows(page, "blocks")}
    assert blocks["crops.sam_model.blocks.0"].agrees(0)
    rows = verifier.rows(page, "modules")
    assert [row.name for row in rows][:4] == [
        *(f"global.{part}" for part in ("sam_model", "vision_model", "projector")),
        "crops.sam_model",
    ]
    for row in rows:
        assert row.agrees(0), row
    assert rows[0].analytic_flops == 2 * 976_909_172_736
    assert rows[0].peak == Compared(459_276_288, 459_276_288)  # of one page
    (stage,) = verifier.stages(page)  # the published files hold no whole model: by the replica
    assert stage.agrees(0) and stage.compared["activation_peak_bytes"].measured > 459_276_288


def test_other_code_is_compared_by_its_flops_only(tmp_path: Path) -> None:
    verifier = published(tmp_path, "workload=tiny")
    note = "traffic and peaks are not compared: the reference is other code than execution=transformers."
    assert (verifier.same_code, verifier.notes()) == (False, [note])
    page = verifier.cost_model.page(9, 9)
    rows = verifier.rows(page, "modules")
    assert all(row.agrees(0) and row.io is row.peak is None for row in rows)
    assert verifier.stages(page) == []


def test_a_wrong_peak_of_the_stage_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = VisionTower.forward
    monkeypatch.setattr(VisionTower, "forward", lambda self, pixels: plain(self, clone(pixels)))
    model = load_cost_model(["workload=tiny"])
    verifier = VisionVerifier(model, whole_model(model), REFERENCE)
    page = verifier.cost_model.page(9, 9)
    stage = verifier.stages(page)[0]
    assert not stage.agrees(0)
    assert stage.compared["activation_peak_bytes"].difference == 3 * 512 * 512 * 2
    assert all(each.agrees(0) for each in verifier.rows(page, "modules"))  # each part alone is as it was


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a" / "result.json"
    write_whole(target, "one")
    write_whole(target, "two")
    assert target.read_text() == "two"
    assert list(target.parent.iterdir()) == [target]
    (tmp_path / "file").touch()
    with pytest.raises(ModelMeterError, match="cannot be written"):
        write_whole(tmp_path / "file" / "result.json", "x")
