"""The time of one page in one call, and how a result is shown."""

import json
from typing import Any

import pandas as pd
import pytest

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.devices import PageKind, Throughput, compute_throughput, load_device, time_page
from modelmeter.errors import ModelMeterError


def page_of(*overrides: str, steps: int = 1000) -> Any:
    return load_cost_model(["workload=base", *overrides]).page(1275, 1650, output_tokens=steps)


def test_it_is_what_the_command_says_of_one_page_alone(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("1275x1650", "--output-tokens", "1000", "--device", "H100-SXM", "--batch", "1", "--json")
    assert main(["throughput", *arguments, "workload=base", "engine=vllm"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["results"]
    result = time_page(page_of("engine=vllm"), "H100-SXM")
    figures = {figure.name: (figure.value, figure.low, figure.high) for figure in result.figures()}
    assert figures == {
        name: (each["value"], each.get("low"), each.get("high")) for name, each in told["figures"].items()
    }


def test_as_many_as_fit_and_a_price() -> None:
    page, device = page_of("engine=vllm"), load_device("L4")
    result = time_page(page, device, batch_size=None, price_per_hour=0.7)
    kinds = [PageKind(page=page, output_tokens=1000)]
    assert result.batch_size > 1
    assert result.figures() == compute_throughput(page.cost_model, device, kinds, price_per_hour=0.7).figures()


def test_a_result_is_a_table_and_a_line() -> None:
    for page, names in ((page_of("engine=vllm"), 8), (page_of("engine=best"), 8), (page_of(steps=0), 4)):
        result = time_page(page, "H100-SXM")
        lines = str(result).splitlines()
        assert max(map(len, lines)) <= 80 and len(lines) == names + 4
        assert ("estimates (low to high)" in lines[0]) == (lines[1].endswith(")")) == (not result.bound)
        assert ("bounds: times at least, rates at most" in lines[0]) == result.bound == ("at least" in repr(result))
        assert len(repr(result)) < 120 and "\n" not in repr(result)
        assert result._repr_html_().count("<tr>") == names
    value, low, high = time_page(page_of("engine=vllm"), "H100-SXM").interval("page_latency_s")
    assert low < value < high


def test_figures_are_a_frame() -> None:
    result: Throughput = time_page(page_of("engine=vllm"), "H100-SXM")
    frame = pd.DataFrame(result.figures()).set_index("name")
    assert frame.loc["ttft_s", "value"] == result.ttft_s and frame.loc["ttft_s", "unit"] == "s"


def test_what_is_no_device_is_refused() -> None:
    page = page_of()
    with pytest.raises(ModelMeterError, match='device H100 is unknown; did you mean "H100-SXM"'):
        time_page(page, "H100")
    with pytest.raises(ModelMeterError, match="page is of type CostModel; give a page's cost"):
        time_page(load_cost_model(), "H100-SXM")  # type: ignore[arg-type]
    with pytest.raises(ModelMeterError, match="time_page: device=80 is an int; give a device's name"):
        time_page(page, 80)  # type: ignore[arg-type]
    with pytest.raises(ModelMeterError, match=r"cost model is one of 2 pages at once \(runtime.batch_size\); give"):
        time_page(page_of("runtime.batch_size=2"), "L4")
