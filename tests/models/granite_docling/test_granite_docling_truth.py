"""Figures that another harness measured, and stages operator by operator; cases of real modules: tests/measured."""

import pytest

from modelmeter.models.granite_docling import load_cost_model
from modelmeter.models.granite_docling.reference.whole import GraniteDoclingWhole
from tests.models.granite_docling.small import OVERRIDES


@pytest.mark.parametrize("route", ["coarse", "fine"])
def test_operators_one_by_one(route: str) -> None:
    """Each operator of a prefill in its module, and what it moves."""
    model = load_cost_model([*OVERRIDES, "runtime.batch_size=2", f"workload.route={route}"])
    page, whole = model.page(300, 200), GraniteDoclingWhole(model)
    stage, _ = whole.prefill(whole.inputs(page.layout), experts_hit=0, head="last")
    walked = [
        (each.aten, each.path.removeprefix("vision."), each.bytes_read, each.bytes_written)
        for each in model.stage_walk("prefill", page=page).records()
    ]
    assert [each if each[1] != "vision" else (each[0], "", *each[2:]) for each in walked] == [
        (
            each.operator,
            whole.place(each.path, each.run, page.layout),
            each.traffic.read_bytes,
            each.traffic.written_bytes,
        )
        for each in stage.operator_traffic
    ]


def test_the_fine_route_has_parameters_of_its_own() -> None:
    """A projection and the mergers of the taps: a norm, two products with a bias each."""
    more = (
        load_cost_model(OVERRIDES).parameters - load_cost_model([*OVERRIDES, "vision.use_fine_route=false"]).parameters
    )
    merged, width = 48 * 2**2, 96
    assert more == merged * width + 2 * (2 * merged + merged * width + width + width * width + width)


def test_published_figures() -> None:
    """Those that another harness measured of the published model, before this package was written."""
    model = load_cost_model(["runtime.prompt_tokens=30"])
    assert model.parameters == 543_428_352
    page, step = model.page(1275, 1650), model.step(862)
    assert page.seq_len == 862
    assert page.vision.tensor_core_flops == 2_870_246_113_280
    assert page.prefill.tensor_core_flops == 3_385_981_681_664
    assert step.tensor_core_flops == 872_120_320
    assert round(page.prefill.io_bytes / 1e9, 2) == 16.24
    assert round(page.prefill.activation_peak_bytes / 1e6, 1) == 288.0
    assert round(page.prefill.kv_bytes / 1e6, 1) == 24.7
