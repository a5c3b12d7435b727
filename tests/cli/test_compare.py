"""`modelmeter compare`: the command, what it writes, and what it says of wrong input."""

import csv
import io
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelmeter import load_cost_model, models
from modelmeter.cli.main import main
from modelmeter.models import model_package
from modelmeter.output_tokens import estimate
from modelmeter.quality import headline
from tests.models.qwen2_5_vl.test_qwen2_5_vl_files import HUB, load

Capture = pytest.CaptureFixture[str]

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/compare.md").read_text(encoding="utf-8")
TWO = ("--models", "deepseek_ocr,olmocr_2_7b")
PAGE = "1275x1650"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def printed(capsys: Capture, *arguments: str) -> str:
    assert main(["compare", *arguments]) == 0
    return capsys.readouterr().out


def rows(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    document = json.loads(printed(capsys, *arguments, "--json"))
    assert document["command"] == "compare"
    found: list[dict[str, Any]] = document["rows"]
    return found


def refused(capsys: Capture, *arguments: str) -> str:
    assert main(["compare", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    return captured.err


def test_the_documents_example_is_real(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    ((arguments, shown),) = re.findall(r"```console\n\$ modelmeter compare (.*?)\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    assert printed(capsys, *arguments.split()) == shown


def test_all_checkpoints_stand_there_unless_told_otherwise(capsys: Capture) -> None:
    found = rows(capsys, PAGE)
    assert sorted(each["settings"]["model"] for each in found) == sorted(models.checkpoints())
    assert [each["refused"] for each in found] == [None] * len(found)
    costs = [int(each["figures"]["total_tensor_core_flops"]) for each in found]
    assert costs == sorted(costs)  # what stands for cost, the least first


def test_models_are_named_by_model_checkpoint_folder_and_all(capsys: Capture, tmp_path: Path) -> None:
    found = rows(capsys, PAGE, "--models", "lighton_ocr,rolmocr", "--models", "all")
    names = [each["settings"]["model"] for each in found]
    assert len(names) == len(set(names)) == 1 + len(models.checkpoints()) and "lighton_ocr" in names


def test_published_figures_stand_with_their_source(capsys: Capture) -> None:
    for each in rows(capsys, PAGE, *TWO):
        name = each["settings"]["model"]
        shown = headline(name, "PureDocBench")
        assert shown is not None
        listed = [figure for figure in each["published"] if figure["benchmark"] == "PureDocBench"]
        assert shown.value in [figure["value"] for figure in listed if figure["part"] == "overall"]
        assert all(figure["source"] and figure["date"] for figure in listed)


def test_modes_of_those_that_have_them(capsys: Capture) -> None:
    found = rows(capsys, PAGE, *TWO, "--modes", "default,tiny,base", "--sort", "model")
    assert [(each["settings"]["model"], each["settings"]["mode"]) for each in found] == [
        ("deepseek_ocr", "gundam"),
        ("deepseek_ocr", "tiny"),
        ("deepseek_ocr", "base"),
        ("olmocr_2_7b", "olmocr"),
    ]
    every = rows(capsys, PAGE, *TWO, "--modes", "all")
    assert len(every) == len(model_package("deepseek_ocr").MODES) + len(model_package("qwen2_5_vl").MODES)


def test_the_class_of_pages_is_each_model_s_own_tokens(capsys: Capture) -> None:
    found = rows(capsys, PAGE, *TWO, "--page-class", "receipt", "--text-format", "plain")
    for each in found:
        model = "deepseek_ocr" if each["settings"]["model"] == "deepseek_ocr" else "qwen2_5_vl"
        tokens = estimate("receipt", model_package(model).TOKENIZER, text_format="plain")
        spread = sum(number * share for number, share in tokens.spread().items())
        assert each["figures"]["output_tokens"] == pytest.approx(float(spread))
        assert each["figures"]["output_tokens_p90"] == tokens.p90
    assert found[0]["figures"]["output_tokens"] != found[1]["figures"]["output_tokens"]


def test_a_column_of_classes_and_one_of_numbers(capsys: Capture) -> None:
    Path("pages.csv").write_text(
        "width,height,kind,steps\n1275,1650,letter,10\n600,1800,receipt,20\n600,1800,menu,30\n"
    )
    (found,) = rows(capsys, "pages.csv", "--models", "deepseek_ocr", "--page-class", "kind")
    means = []
    for name in ("letter", "receipt"):
        spread = estimate(name, "deepseek").spread()
        means.append(float(sum(number * share for number, share in spread.items())))
    assert found["figures"]["output_tokens"] == pytest.approx(sum(means) / 2)
    assert main(["compare", "pages.csv", "--models", "deepseek_ocr", "--page-class", "kind"]) == 0
    assert "page class menu is none whose tokens are known" in capsys.readouterr().err
    (numbered,) = rows(capsys, "pages.csv", "--models", "deepseek_ocr", "--output-tokens", "steps")
    assert numbered["figures"]["output_tokens"] == 20


def test_inputs_of_all_kinds_are_one_workload(capsys: Capture, write_pdf: Callable[..., Path]) -> None:
    Image.new("1", (640, 480)).save("scan.png")
    Path("pages.csv").write_text("width,height,n\n1275,1650,3\n")
    pdf = write_pdf("/MediaBox [0 0 612 792]", "/MediaBox [0 0 612 792]")
    asked = ("scan.png", str(pdf), "pages.csv", "--count", "n", "--models", "deepseek_ocr", "--dpi", "72")
    (found,) = rows(capsys, *asked)
    tokens = [load_cost_model([]).page(*size).tokens.total for size in ((640, 480), (612, 792), (1275, 1650))]
    assert found["figures"]["pages"] == 6
    assert found["figures"]["image_tokens"] == pytest.approx((tokens[0] + 2 * tokens[1] + 3 * tokens[2]) / 6)
    assert "6 pages: scan.png" in printed(capsys, *asked)


def test_the_table_fits_80_columns_and_shows_all_in_more(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (PAGE, "--page-class", "letter", "--device", "H100-SXM", "--price", "2.5", "--modes", "default,tiny")
    monkeypatch.setenv("COLUMNS", "80")
    out = printed(capsys, *asked)
    assert max(map(len, out.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "400")
    assert "Left out" not in printed(capsys, *asked)


def test_csv_has_every_figure_and_who_measured(capsys: Capture) -> None:
    text = printed(capsys, PAGE, *TWO, "--output-tokens", "100", "--device", "L40S", "--csv", "-", "--sort", "-model")
    first, second = csv.DictReader(io.StringIO(text))
    assert [first["model"], second["model"]] == ["olmocr_2_7b", "deepseek_ocr"]
    assert (first["PureDocBench"], first["PureDocBench by"]) == ("63.78", "independent")
    assert first["olmOCR-bench by"] == "vendor" and second["efficient"] == "yes"
    assert float(first["pages_per_s_low"]) < float(first["pages_per_s"]) < float(first["pages_per_s_high"])
    chosen = printed(capsys, PAGE, *TWO, "--columns", "image_tokens,PureDocBench", "--csv", "-").splitlines()
    assert chosen[0] == "model,mode,efficient,image_tokens,PureDocBench,PureDocBench by,refused"


def test_sorting(capsys: Capture) -> None:
    by_quality = rows(capsys, PAGE, *TWO, "--sort", "PureDocBench")
    assert [each["settings"]["model"] for each in by_quality] == ["olmocr_2_7b", "deepseek_ocr"]
    turned = rows(capsys, PAGE, *TWO, "--sort", "-PureDocBench")
    assert [each["settings"]["model"] for each in turned] == ["deepseek_ocr", "olmocr_2_7b"]
    distances = rows(capsys, PAGE, "--models", "deepseek_ocr", "--modes", "all", "--sort", "OmniDocBench v1.0 English")
    assert [each["settings"]["mode"] for each in distances[:2]] == ["gundam_m", "gundam"]  # lower is better


def test_the_host_is_told_where_it_limits(capsys: Capture) -> None:
    asked = (PAGE, "--models", "deepseek_ocr", "--output-tokens", "100", "--device", "H100-SXM")
    out = " ".join(printed(capsys, *asked).split())
    workers = re.search(r"limits 1 of 1 rows; with host\.workers=(\d+) none", out)
    assert workers is not None
    assert "host.workers=" not in printed(capsys, *asked, f"host.workers={workers[1]}")
    (few,) = rows(capsys, *asked, f"host.workers={int(workers[1]) - 1}")
    assert few["figures"]["limited_by"] == "host"


def test_a_published_share_of_runaway_pages_has_its_source(capsys: Capture) -> None:
    asked = (PAGE, "--models", "deepseek_ocr", "--output-tokens", "100", "--device", "L40S")
    out = " ".join(printed(capsys, *asked, "--runaway-share", "deepseek_ocr_pdfs", "--explain").split())
    assert "3.69 % repeat to the last position" in out and "arXiv 2601.20552" in out
    (plain,), (slower,) = (rows(capsys, *asked, *more) for more in ((), ("--runaway-share", "deepseek_ocr_pdfs")))
    assert slower["figures"]["page_s"] > 1.5 * plain["figures"]["page_s"]


def test_a_checkpoint_of_one_s_own_stands_beside_others(capsys: Capture, tmp_path: Path) -> None:
    """A folder that says what a published checkpoint says costs what that does, and nobody published how it reads."""
    load(tmp_path, HUB)
    named = rows(capsys, PAGE, "--models", f"{tmp_path},qwen2_5_vl_3b", "--output-tokens", "9", "--sort", "model")
    mine, theirs = named
    assert mine["settings"]["model"] == str(tmp_path) and theirs["settings"]["model"] == "qwen2_5_vl_3b"
    assert mine["figures"]["prefill_tensor_core_flops"] == theirs["figures"]["prefill_tensor_core_flops"]
    assert mine["published"] == []


def test_a_report_with_the_chart(capsys: Capture) -> None:
    asked = (PAGE, *TWO, "--output-tokens", "100", "--device", "L40S", "--price", "1")
    assert "c.html: " in printed(capsys, *asked, "-o", "c.html", "--csv", "c.csv")
    page = Path("c.html").read_text(encoding="utf-8")
    assert page.count('class="front"') == 1 and "olmocr_2_7b" in page
    printed(capsys, *asked, "-o", "c.md")
    assert "## Published quality" in Path("c.md").read_text(encoding="utf-8")
    printed(capsys, *asked, "-o", "c.json")
    points = json.loads(Path("c.json").read_text(encoding="utf-8"))["sections"]["chart"]["quality_against_cost"]["data"]
    assert [each["name"] for each in points["points"]] == ["deepseek_ocr", "olmocr_2_7b"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        ((PAGE, "--models", "olmocr_2"), 'model olmocr_2 does not exist; did you mean "olmocr_2_7b"'),
        ((PAGE, "--models", "rolmocr,rolmocr"), "--models rolmocr is given 2 times"),
        ((PAGE, "--models", "rolmocr,"), "--models has an empty name"),
        ((PAGE, *TWO, "--modes", "gundm"), 'none of these models has it; did you mean "gundam"'),
        ((PAGE, *TWO, "--device", "H100"), 'did you mean "H100-'),
        ((PAGE, *TWO, "--device", "L4,L4", "--output-tokens", "1"), "--device L4 is given 2 times"),
        ((PAGE, *TWO, "--device", "L4"), "how many tokens does a page's text have?"),
        ((PAGE, *TWO, "--price", "2"), "--price 2 is of a device"),
        ((PAGE, *TWO, "--quality", "OmniDocBench"), "there is no such benchmark; did you mean"),
        ((PAGE, *TWO, "--sort", "speed"), "--sort speed: there is no such figure"),
        ((PAGE, *TWO, "--columns", "pages_per_s"), "--columns pages_per_s: there is no such figure"),
        ((PAGE, *TWO, "--page-class", "lettr"), "--page-class lettr is no class"),
        ((PAGE, *TWO, "--page-class", "letter", "--language", "klingon"), "language klingon does not exist"),
        ((PAGE, *TWO, "--page-class", "letter", "--tokenizers", "nowhere"), "--tokenizers nowhere is no folder"),
        ((PAGE, *TWO, "--page-class", "letter", "--output-tokens", "5"), "both say how long texts are"),
        ((PAGE, *TWO, "--output-tokens", "steps"), "is neither a whole number"),
        ((PAGE, *TWO, "--runaway-share", "often"), "neither a number nor a share that was published"),
        ((PAGE, *TWO, "--runaway-share", "2"), "2 is no share; give a number from 0 to below 1"),
        ((PAGE, "--models", ","), "--models has an empty name"),
        ((PAGE, *TWO, "--csv", "-", "--json"), "--json and --csv - would share standard output"),
        ((PAGE, *TWO, "-o", "report.txt"), "the name report.txt does not say the format"),
        ((PAGE, *TWO, "worklod=tiny"), "there is no worklod"),
        ((PAGE, *TWO, "host.wrkers=2"), 'did you mean "host.workers"'),
        ((PAGE, *TWO, "--count", "n"), "--count n is for folders and tables"),
        (("nothing.png", *TWO), "nothing.png"),
        (TWO, "there is no page"),
        (("-", "-", *TWO), "standard input (-) is given twice"),
        (("100x30000", "--models", "qwen2_5_vl_3b"), "aspect ratio above 200"),
    ],
)
def test_wrong_input_is_told(arguments: Sequence[str], told: str, capsys: Capture) -> None:
    assert told in " ".join(refused(capsys, *arguments).split())


def test_no_output_is_written_over_an_input(capsys: Capture) -> None:
    Path("pages.csv").write_text("width,height\n1275,1650\n")
    assert "pages.csv" in refused(capsys, "pages.csv", *TWO, "--csv", "pages.csv")
    assert Path("pages.csv").read_text() == "width,height\n1275,1650\n"


def test_pages_left_out_are_told(capsys: Capture) -> None:
    Path("pages.csv").write_text("width,height\n1275,1650\n0,5\n")
    assert main(["compare", "pages.csv", *TWO]) == 0
    captured = capsys.readouterr()
    assert "1 page: pages.csv, 1275x1650 pixels" in captured.out and "width 0 is not positive" in captured.err


@pytest.mark.slow
def test_all_models_on_a_million_sizes_in_well_under_a_minute() -> None:
    rng = np.random.default_rng(7)
    widths = rng.integers(600, 3000, 1_000_000)
    heights = (widths * rng.uniform(1.2, 1.6, len(widths))).astype(np.int64)
    pq.write_table(pa.table({"width": widths, "height": heights}), "pages.parquet")
    start = time.process_time()
    assert main(["compare", "pages.parquet", "--page-class", "letter", "--device", "H100-SXM", "--csv", "out.csv"]) == 0
    assert time.process_time() - start < 45
