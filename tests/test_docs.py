"""What the documentation says of the code holds."""

import contextlib
import io
import re
from pathlib import Path

from modelmeter.operators import FLOPS_PER_ELEMENT

ROOT = Path(__file__).parents[1]
COUNTED = ROOT / "docs" / "counted.md"


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


def test_the_examples_of_the_recipes_run() -> None:
    names: dict[str, object] = {}
    blocks = [
        block
        for page in ("index.md", "recipes.md")
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)
    ]
    for block in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(block, names)
        assert printed.getvalue().strip()
    assert len(blocks) == 3
    assert printed.getvalue().splitlines()[0] == str(2 * 100 * 3 * 1024 * 4096)
