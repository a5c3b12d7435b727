"""What must not become slower, held by counting: operators walked, configurations composed, modules imported."""

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from benchmarks.growth import SIZES
from benchmarks.walked import walked_operators
from modelmeter import operators
from modelmeter.models.deepseek_ocr import compute_view_layout, load_cost_model
from modelmeter.walk import OperatorRecord

ROOT = Path(__file__).parents[2]

PAGE = (1275, 1650)
LIKE_PAGE = (1276, 1651)

#: operators that the first page of a cost model may walk, 1,000 decode steps included: about one block of each kind
FIRST_PAGE_OPERATORS = 500
#: modules of the package that `import modelmeter` may load
OWN_MODULES = 3


def walked(page: tuple[int, int], output_tokens: int, *before: tuple[int, int], mode: str = "gundam") -> int:
    """Operators walked for a page, after others that the same cost model has seen."""
    cost_model = load_cost_model([f"workload={mode}"])
    for size in before:
        cost_model.page(*size, output_tokens)
    with walked_operators() as names:
        cost_model.page(*page, output_tokens)
    return len(names)


def test_the_first_page_is_walked() -> None:
    assert 0 < walked(PAGE, 1000) <= FIRST_PAGE_OPERATORS


@pytest.mark.parametrize("page", [*SIZES.values(), PAGE, LIKE_PAGE], ids=str)
@pytest.mark.parametrize("first", [PAGE, SIZES[1]], ids=str)
def test_after_the_first_page_no_layout_and_no_output_walks_anything(
    page: tuple[int, int], first: tuple[int, int]
) -> None:
    assert walked(page, 1000, first) == 0


def test_no_output_walks_anything_after_the_first() -> None:
    cost_model = load_cost_model()
    cost_model.page(*PAGE, 1000)
    with walked_operators() as names:
        for output_tokens in (0, 1, 2, 999, 7000):
            cost_model.page(*PAGE, output_tokens)
    assert names == []


def test_a_page_walks_far_fewer_operators_than_it_has() -> None:
    cost_model = load_cost_model()
    with walked_operators() as names:
        page = cost_model.page(*PAGE)
    assert len(names) < cost_model.stage_walk("prefill", page=page).operator_count / 4


def test_output_tokens_cost_nothing_more() -> None:
    assert walked(PAGE, 8, mode="tiny") == walked(PAGE, 8000, mode="tiny")


def test_more_crops_cost_nothing_more() -> None:
    workload = load_cost_model().workload
    counts: dict[bool, list[int]] = {False: [], True: []}  # rows of several crops are joined by one operator more
    for views, size in SIZES.items():
        if views > 1:
            counts[compute_view_layout(workload, *size).w_crop > 1].append(walked(size, 1000))
    assert all(len(each) > 1 and len(set(each)) == 1 for each in counts.values()), counts


@pytest.mark.parametrize("views", SIZES)
def test_the_sizes_of_the_benchmark_have_the_views_that_they_stand_for(views: int) -> None:
    assert compute_view_layout(load_cost_model().workload, *SIZES[views]).num_views_total == views


def test_walked_operators_are_counted_within_the_context_only() -> None:
    cost_model = load_cost_model()
    with walked_operators() as names:
        pass
    cost_model.page(*PAGE)
    assert names == []
    assert operators.OperatorRecord is OperatorRecord  # type: ignore[attr-defined]


def test_a_cost_model_composes_its_configuration_once_and_a_page_not_at_all() -> None:
    with patch.object(
        ConfigLoaderImpl, "load_configuration", autospec=True, side_effect=ConfigLoaderImpl.load_configuration
    ) as compose:
        load_cost_model(["workload=base"])
        assert compose.call_count == 0  # plain overrides need no Hydra
        overrides = ["workload=base", "vision.sam.global_attn_indexes=[1,5,8,11]"]
        cost_model = load_cost_model(overrides)
        assert compose.call_count == 1
        load_cost_model(overrides)
        cost_model.page(*PAGE, 1000)
        cost_model.text(100, 10)
        cost_model.part_peak("vit_model", batch_size=1, img_size=1024)
        assert compose.call_count == 1


def test_importing_the_package_loads_next_to_nothing() -> None:
    code = "import sys; before = set(sys.modules); import modelmeter; print(*(set(sys.modules) - before))"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    own = [name for name in loaded if name.partition(".")[0] == "modelmeter"]
    assert 1 <= len(own) <= OWN_MODULES, own
    foreign = {name.partition(".")[0] for name in loaded} - {"modelmeter"} - sys.stdlib_module_names
    assert not foreign
