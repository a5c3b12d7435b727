"""What the documentation says of the code holds."""

import re
from pathlib import Path

from modelmeter.devices import load_device
from modelmeter.models.deepseek_ocr import MODES, load_cost_model
from modelmeter.operators import FLOPS_PER_ELEMENT
from tests.examples import printed, python_blocks

ROOT = Path(__file__).parents[1]
COUNTED = ROOT / "docs" / "counted.md"
RECIPES = ROOT / "docs" / "recipes.md"


def table_of_elements() -> str:
    rows = "".join(f"| {name} | {flops} |\n" for name, flops in FLOPS_PER_ELEMENT.items() if flops)
    return f"| operator | FLOPs an element |\n|---|---:|\n{rows}"


def test_the_table_of_flops_is_the_codes() -> None:
    table = re.search(r"<!-- table:begin -->\n(.*)<!-- table:end -->", COUNTED.read_text(), re.DOTALL)
    assert table is not None
    assert table.group(1) == table_of_elements()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", COUNTED.read_text())
    assert len(named) > 20
    for file, test in named:
        source = (ROOT / "tests" / file).read_text()
        assert f"def {test}(" in source, (file, test)


def test_the_table_of_modes_beside_their_quality_is_the_models() -> None:
    table = re.search(r"<!-- quality:begin -->\n(.*)<!-- quality:end -->", RECIPES.read_text(), re.DOTALL)
    assert table is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.group(1).splitlines()[2:]]
    assert [row[0] for row in rows] == list(MODES)
    for mode, *figures, _, _ in rows:
        page = load_cost_model([f"workload={mode}"]).page(1275, 1650, output_tokens=1000)
        expected = (
            f"{page.tokens.total:,}",
            f"{page.prefill.tensor_core_flops / 1e12:.3f}",
            f"{page.total.activation_peak_bytes / 1e6:,.1f}",
            f"{page.total.kv_bytes / 1e6:.1f}",
        )
        assert tuple(figures) == expected


def test_nobody_is_sent_to_an_index_that_has_no_modelmeter() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "extern" / "modelmeter").rglob("*.py")]
    named = [path.name for path in pages if re.search(r"install '?\"?modelmeter\b|modelmeter\[", path.read_text())]
    assert named == []


def test_the_device_of_the_recipes_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", RECIPES.read_text(), flags=re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text)
    device = load_device(tmp_path / "mine.yaml")
    assert (device.name, float(device.efficiency["matmul"].factor), device.price_per_hour) == ("MyCard", 0.7, 0.5)


def test_the_example_of_times_runs() -> None:
    (block,) = python_blocks((ROOT / "docs" / "times.md").read_text())
    prefill, step, steps, kernel_class = printed(block, {}).splitlines()
    assert re.fullmatch(r"0\.0[34]\d+ s \(0\.0[34]\d* to 0\.0[34]\d*\), 2,398 kernels", prefill)
    assert step.startswith("0.00") and steps.endswith(" 786,000 kernels")
    assert kernel_class == "strided"


def test_the_examples_of_the_recipes_run() -> None:
    names: dict[str, object] = {}
    blocks = [
        block for page in ("index.md", "recipes.md") for block in python_blocks((ROOT / "docs" / page).read_text())
    ]
    outputs = [printed(block, names) for block in blocks]
    assert len(blocks) == 4 and all(output.strip() for output in outputs)
    assert outputs[-1].splitlines()[0] == str(2 * 100 * 3 * 1024 * 4096)
