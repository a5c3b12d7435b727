"""The sweeps: what is committed, what the cost model says apart, what a user runs, and what is refused."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from modelmeter.models.common import StageCost
from modelmeter.models.deepseek_ocr import VisionWorkload, compute_view_layout, load_cost_model
from modelmeter.models.deepseek_ocr.config import CONFIGURATION
from modelmeter.programs.hydra_program import register
from modelmeter.programs.sweep import figures
from modelmeter.programs.sweep.sweep import (
    Result,
    Row,
    compute,
    to_csv,
    to_json,
    to_markdown,
)
from modelmeter.programs.sweep.write_mode_table import mode_table, write_mode_table
from modelmeter.programs.sweep.write_sweep_reports import PROGRAMS, default_result
from modelmeter.report.plotting import FORMATS, check_matplotlib, house_style
from tests.programs.results import Done, RunMain, job_folders, result_file

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"
BY_NAME = {program.name: program for program in PROGRAMS}
MODEL = model_package()
PACKAGE = "modelmeter.programs.sweep"


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {name: default_result(program, MODEL) for name, program in BY_NAME.items()}


def computed(name: str, *overrides: str) -> Result:
    register(CONFIGURATION)
    return compute(BY_NAME[name], MODEL, CONFIGURATION.compose_config(f"sweep_{name}", overrides))


def row_named(result: Result, label: str) -> Row:
    (row,) = (row for row in result.rows if row["label"] == label)
    return row


# -- what is committed -------------------------------------------------------------------------------------------------


def test_the_committed_tables_are_the_programs(results: dict[str, Result]) -> None:
    expected = {"README.md": to_markdown(list(results.values()), figures.FIGURES)}
    for name, result in results.items():
        expected |= {f"{name}.csv": to_csv(result), f"{name}.json": to_json(result)}
    for name, text in expected.items():
        assert (REPORTS / "sweep" / name).read_text(encoding="utf-8") == text, f"{name}: run make sweeps"
    drawn = {f"{name}_{figure}.{kind}" for name in BY_NAME for figure in figures.FIGURES for kind in FORMATS}
    assert {file.name for file in (REPORTS / "sweep").iterdir()} == expected.keys() | drawn


def test_the_mode_table_is_the_programs(tmp_path: Path) -> None:
    table = mode_table()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.split("<!-- modes:begin -->")[1].split("<!-- modes:end -->")[0].strip() == table.strip()
    assert (REPORTS / "modes.md").read_text(encoding="utf-8").endswith(f"\n\n{table}")
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    write_mode_table(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == readme
    assert (tmp_path / "reports" / "modes.md").read_bytes() == (REPORTS / "modes.md").read_bytes()


def test_the_mode_table_needs_its_markers(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"README\.md: cannot be read"):
        write_mode_table(tmp_path)
    (tmp_path / "README.md").write_text("no markers\n")
    with pytest.raises(ModelMeterError, match="modes:begin"):
        write_mode_table(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]


def test_the_mode_table_by_hand() -> None:
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in mode_table().splitlines() if "|" in line]
    header, rows = cells[0], cells[2:]
    columns = [header.index(name) for name in ("mode", "image tokens", "sequence", "vision TFLOPs", "KV MB")]
    gundam = 976_909_172_736 + 161_715_683_328 + 1_342_177_280 + 1_953_724_760_064 + 372_028_538_880 + 3_145_728_000
    shown = {row[0]: [row[column] for column in columns[1:]] for row in rows}
    assert {mode: values[0] for mode, values in shown.items()} == {
        "tiny": f"{9 * 8 + 1}",
        "small": f"{11 * 10 + 1}",
        "base": f"{17 * 16 + 1}",
        "large": f"{21 * 20 + 1}",
        "gundam": f"{17 * 16 + 1 + (2 * 10 + 1) * 30}",
        "gundam_m": f"{21 * 20 + 1 + (2 * 16 + 1) * 48:,}",
    }
    assert shown["gundam"][1:] == ["913", f"{gundam / 1e12:.3f}", f"{1913 * 12 * 2 * 1280 * 2 / 1e6:.1f}"]


# -- against the cost model, asked apart -------------------------------------------------------------------------------

APART = {  # a row of each sweep, and the same asked of the cost model
    "grids": ("2x3", [], (1275, 1650), 0),
    "modes": ("gundam_m", ["workload=gundam_m"], (1275, 1650), 1000),
    "lengths": ("1000 + 4000", ["runtime.prompt_tokens=1000"], (1275, 1650), 4000),
    "batches": ("8", ["runtime.batch_size=8"], (1275, 1650), 1000),
    "attention": ("base eager", ["workload=base", "runtime.attention=eager"], (1275, 1650), 1000),
}


@pytest.mark.parametrize("name", APART)
def test_a_row_is_what_the_cost_model_says(name: str) -> None:
    label, overrides, size, output_tokens = APART[name]
    page = load_cost_model(overrides).page(*size, output_tokens)
    document = json.loads((REPORTS / "sweep" / f"{name}.json").read_text(encoding="utf-8"))
    assert (document["schema_version"], document["command"]) == (1, f"sweep_{name}")
    (row,) = (row for row in document["rows"] if row["label"] == label)
    assert (row["image_tokens"], row["views"]) == (page.tokens.total, page.layout.num_views_total)
    for stage in ("vision", "prefill", "decode", "total"):
        cost = getattr(page, stage)
        shown = row["stages"][stage]
        assert StageCost(**{field.name: shown[field.name] for field in fields(StageCost)}) == cost
        assert shown["io_bytes"] == cost.io_bytes
        assert shown["arithmetic_intensity"] == cost.arithmetic_intensity
    for stage, parts in row["components"].items():
        for figure in ("tensor_core_flops", "cuda_core_flops", "io_bytes"):
            assert sum(part[figure] for part in parts.values()) == row["stages"][stage][figure]


def test_the_csv_holds_what_the_json_holds(results: dict[str, Result]) -> None:
    for name, result in results.items():
        lines = list(csv.DictReader(io.StringIO(to_csv(result))))
        rows = json.loads(to_json(result))["rows"]
        assert len(lines) == len(rows), name
        for line, row in zip(lines, rows, strict=True):
            assert line["label"] == row["label"]
            if not row["refused"]:
                assert int(line["stages.total.io_bytes"]) == int(row["stages"]["total"]["io_bytes"])
                assert int(line["components.prefill.sam.io_bytes"]) == row["components"]["prefill"]["sam"]["io_bytes"]


def test_json_keeps_every_digit(results: dict[str, Result]) -> None:
    result = results["grids"]
    huge = result.rows[0] | {"image_tokens": 2**53 + 1, "views": 2**53}
    shown = json.loads(to_json(replace(result, rows=(huge,))))["rows"][0]
    assert (shown["image_tokens"], shown["views"]) == (str(2**53 + 1), 2**53)


def test_every_grid_is_there_once(results: dict[str, Result]) -> None:
    grids = {(columns, rows) for columns in range(1, 10) for rows in range(1, 10) if 2 <= columns * rows <= 9}
    shown = [row["grid"] for row in results["grids"].rows]
    assert sorted(shown) == sorted(f"{columns}x{rows}" for columns, rows in grids | {(1, 1)})
    assert [row["grid"] for row in results["grids"].rows] == [row["label"] for row in results["grids"].rows]


def test_flash_and_eager_differ_in_memory_only(results: dict[str, Result]) -> None:
    rows = results["attention"].rows
    for flash, eager in zip(rows[::2], rows[1::2], strict=True):
        assert (flash["attention"], eager["attention"]) == ("flash", "eager")
        for stage in ("vision", "prefill", "decode"):
            assert flash["stages"][stage]["tensor_core_flops"] == eager["stages"][stage]["tensor_core_flops"]
            assert flash["stages"][stage]["io_bytes"] < eager["stages"][stage]["io_bytes"]


@pytest.mark.parametrize(
    "image_size, columns, rows", [(640, 1, 2), (640, 3, 3), (640, 4, 4), (640, 8, 8), (320, 1, 2), (1024, 2, 3)]
)
def test_a_page_for_a_grid(image_size: int, columns: int, rows: int) -> None:
    workload = VisionWorkload(image_size=image_size, max_num=100)
    page = workload.page_of_grid(columns, rows)
    assert compute_view_layout(workload, page.width, page.height)[1:] == (columns, rows)


def test_a_grid_that_no_page_has_is_refused() -> None:
    with pytest.raises(ModelMeterError, match=r"no page is cut into 1 x 2 crops with workload\.image_size=160"):
        VisionWorkload(image_size=160).page_of_grid(1, 2)


def test_a_result_names_the_code_whose_cost_it_is() -> None:
    assert computed("modes", "modes=[tiny]").title == "Modes (transformers)"
    published = computed("modes", "modes=[tiny]", "execution=published")
    assert "## Modes (published, without autocast)\n" in to_markdown([published], ())
    assert {row["execution"] for row in published.rows} == {"published"}


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_what_is_too_long_is_marked_with_the_models_own_error(results: dict[str, Result]) -> None:
    rows = results["lengths"].rows
    assert {row["label"] for row in rows if row["refused"]} == {"1000 + 7000", "4000 + 4000", "4000 + 7000"}
    row = row_named(results["lengths"], "1000 + 7000")
    with pytest.raises(ModelMeterError) as refusal:
        load_cost_model(["runtime.prompt_tokens=1000"]).page(1275, 1650, 7000)
    assert row["refused"] == str(refusal.value)
    assert (row["stages"], row["components"]) == ({}, {})
    assert (row["image_tokens"], row["context_tokens"]) == (903, 8903)
    assert all(row["context_tokens"] <= 8192 for row in rows if not row["refused"])
    table = to_markdown([results["lengths"]], ())
    assert f"| 1000 + 7000 | 903 | 1,903 | {'refused | ' * 8}{row['refused']} |" in table


BAD = [
    ("grids", "workload=base", "crop_mode=false cuts no page"),
    ("grids", "output_tokens=-1", "output_tokens holds -1"),
    ("grids", "output_tokens=9000", "none of the 23 points can be computed. context: 283 tokens"),
    ("grids", "workload.max_num=2000", "points are more than 1,000"),
    ("grids", "workload.min_num=10", "min_num=10 exceeds max_num=9"),
    ("modes", "modes=[gundem]", 'modes holds gundem, which does not exist; did you mean "gundam"'),
    ("modes", "modes=[]", "is no list of values"),
    ("modes", "modes=base", r"modes=base is no list of values; write modes=\["),
    ("modes", "modes=[base,base]", "holds a value twice"),
    ("modes", "page=letter", "page size letter has no resolution; write it as in letter@200"),
    ("modes", "page=0x5", "width 0 is out of range"),
    ("modes", "workload=base", r"workload\.image_size=1024 would not be heard"),
    ("lengths", "prompt_lengths=[ten]", "prompt_lengths holds 'ten'"),
    ("lengths", "output_lengths=[1.5]", "output_lengths holds 1.5"),
    ("lengths", "runtime.prompt_tokens=3", r"runtime\.prompt_tokens=3 would not be heard"),
    ("lengths", "runtime.prompt=hello", r"runtime\.prompt=hello would not be heard"),
    ("batches", "batch_sizes=[0]", "batch_sizes holds 0; give a whole number of 1 or more"),
    ("batches", "batch_sizes=[true]", "batch_sizes holds True"),
    ("batches", "runtime.batch_size=4", r"runtime\.batch_size=4 would not be heard"),
    ("attention", "attentions=[flush]", 'did you mean "flash"'),
    ("attention", "runtime.attention=eager", r"runtime\.attention=eager would not be heard"),
]


@pytest.mark.parametrize("name, override, text", BAD)
def test_bad_values_are_refused(name: str, override: str, text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        computed(name, override)


def test_figures_need_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModelMeterError, match=r"pip install matplotlib, or say figures=false"):
        check_matplotlib("say figures=false")


# -- as a user runs them -----------------------------------------------------------------------------------------------


Run = Callable[..., Done]


@pytest.fixture
def run(run_main: RunMain) -> Run:
    """Run a sweep's program, by the sweep's name."""
    return lambda name, *arguments: run_main(import_module(f"{PACKAGE}.{name}").main, *arguments)


MULTIRUNS = {  # the override that makes two jobs, and the number of rows of each
    "grids": ("workload.max_num=2,3", (3, 5)),
    "modes": ("modes=[tiny],[base,gundam]", (1, 2)),
    "lengths": ("output_lengths=[0,1],[2]", (8, 4)),
    "batches": ("batch_sizes=[1,2],[4]", (2, 1)),
    "attention": ("attentions=[flash],[flash,eager]", (6, 12)),
}


@pytest.mark.parametrize("name", MULTIRUNS)
def test_multirun(tmp_path: Path, run: Run, name: str) -> None:
    override, counts = MULTIRUNS[name]
    done = run(name, "--multirun", override, "figures=false")
    assert done.status == 0, done.stderr
    for folder, count in zip(job_folders(tmp_path, f"sweep_{name}"), counts, strict=True):
        assert {file.name for file in folder.iterdir()} == {f"{name}.csv", f"{name}.json", "README.md"}
        assert len(json.loads((folder / f"{name}.json").read_text())["rows"]) == count


def test_a_job_that_fails_stops_no_other_and_leaves_nothing(tmp_path: Path, run: Run) -> None:
    arguments = ("--multirun", "batch_sizes=[0],[1]", "figures=false")
    done = run("batches", *arguments)
    assert done.status == 2
    assert done.stderr.strip() == "error: sweep: batch_sizes holds 0; give a whole number of 1 or more."
    failed, good = job_folders(tmp_path, "sweep_batches")
    assert not list(failed.iterdir())
    assert (good / "batches.csv").exists()


@pytest.mark.parametrize(
    "argument, text", [("batch_size=4", 'did you mean "batch_sizes"'), ("figures=3", "figures=3 is")]
)
def test_a_wrong_argument_is_one_line(tmp_path: Path, run: Run, argument: str, text: str) -> None:
    done = run("batches", argument)
    assert done.status == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_figures_neither_torch_nor_matplotlib_is_needed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['matplotlib'] = None;"
        f"from {PACKAGE}.modes import main;"
        "sys.argv[1:] = ['modes=[tiny]', 'figures=false']; main()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
    assert result_file(tmp_path, "sweep_modes", "modes.csv").exists()


def test_the_page_of_the_documentation_shows_real_output(tmp_path: Path, run: Run) -> None:
    blocks = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8").split("```console\n$ .venv/bin/python -m ")[1:]
    shown = 0
    for block in blocks:
        command, _, rest = block.partition("\n```\n")
        if not rest.lstrip().startswith("```text\n"):
            continue
        expected = rest.split("```text\n")[1].split("\n```")[0]
        module, *arguments = command.replace("'", "").split()
        done = run(module.rpartition(".")[2], *arguments)
        printed = done.stdout.splitlines()[:-1] if done.status == 0 else done.stderr.splitlines()
        assert [line.rstrip() for line in printed] == expected.splitlines()
        shown += 1
    assert shown == 3


# -- figures -----------------------------------------------------------------------------------------------------------


def test_figures_come_out_the_same_byte_for_byte(tmp_path: Path) -> None:
    result = computed("modes", "modes=[tiny,gundam]")
    drawn = figures.draw(result)
    assert drawn == figures.draw(result)
    assert drawn.keys() == {"costs.svg", "costs.png", "intensity.svg", "intensity.png"}
    for name, content in drawn.items():
        if name.endswith(".svg"):
            assert b"dc:date" not in content and b"Matplotlib" not in content
        else:
            assert content.startswith(b"\x89PNG") and b"tEXt" not in content
            assert len(content) < 200_000


def drawn_figures(result: Result) -> dict[str, Any]:
    with house_style():
        both = {"costs": figures.costs_figure(result), "intensity": figures.intensity_figure(result)}
        for figure in both.values():
            figure.draw_without_rendering()
            figure.draw_without_rendering()  # labels follow the ticks of the draw before
        return both


def words(figure: Any) -> list[Any]:
    """Boxes of all texts of a figure: names, ticks, titles, legends."""
    from matplotlib.text import Text

    ticks = {id(label): axes for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())}
    shown = []
    for text in figure.findobj(Text):
        if not text.get_visible() or not text.get_text():
            continue
        axis = ticks.get(id(text))
        box = Text.get_window_extent(text)
        if axis is not None:  # ticks beyond the ends of an axis are not drawn
            end = axis.get_window_extent()
            middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
            if not (end.x0 - 1 <= middle[0] <= end.x1 + 1 or end.y0 - 1 <= middle[1] <= end.y1 + 1):
                continue
        shown.append((text.get_text(), box))
    return shown


@pytest.mark.parametrize("name", BY_NAME)
def test_no_words_overlap_and_every_point_is_named(name: str, results: dict[str, Result]) -> None:
    from matplotlib.text import Annotation

    result = results[name]
    drawn = drawn_figures(result)
    for figure in drawn.values():
        shown = words(figure)
        assert len(shown) > 20
        for (one, first), (other, second) in combinations(shown, 2):
            assert not first.overlaps(second), f"{one} and {other}"
    named = [text.get_text() for text in drawn["intensity"].findobj(Annotation)]
    panels = len(drawn["intensity"].axes)
    assert panels >= 2
    for row in result.computed:
        names = {row["label"], f"{row['label']} {row['grid']}"}
        assert sum(text in names for text in named) == panels, row["label"]
