"""A load on a served model: beside the closed forms of `throughput`, and what its steps are made of."""

from __future__ import annotations

import pytest

from modelmeter.devices import PageKind, compute_throughput, load_device
from modelmeter.devices.pages import prepared
from modelmeter.devices.throughput import service_of, stage_times
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import PageCost
from modelmeter.models.deepseek_ocr import CostModel, load_cost_model
from modelmeter.simulation.load import simulate
from modelmeter.simulation.scheduler import Chunk, Decoding
from modelmeter.simulation.steps import ModelSteps, batches

H100 = load_device("H100-SXM")


def served(*overrides: str) -> CostModel:
    return load_cost_model(["engine=vllm", *overrides])


def letters(model: CostModel, tokens: int = 600) -> list[PageKind[PageCost]]:
    return [PageKind(page=model.page(1275, 1650), output_tokens=tokens)]


@pytest.mark.parametrize("in_flight", [1, 4, 16])
def test_a_closed_loop_is_near_its_approximation(in_flight: int) -> None:
    """One request alone exactly; several within 6 % of mean value analysis, which knows no bursts."""
    model = served("host.workers=8")
    result = simulate(model, H100, letters(model), in_flight=in_flight, requests=400)
    solved = compute_throughput(model, H100, letters(model), in_flight=in_flight).concurrency
    assert solved is not None
    rel = 1e-3 if in_flight == 1 else 0.06
    assert result.value.requests_per_s == pytest.approx(solved.loops[0].requests_per_s, rel=rel)


def test_a_light_load_waits_for_nobody() -> None:
    """Far apart, a request takes its preparation, its prefill and its steps alone."""
    model = served()
    alone = compute_throughput(model, H100, letters(model), batch_size=1)
    times = simulate(model, H100, letters(model), arrivals=[0.0, 100.0, 200.0]).value.times()
    assert times["ttft_s"].percentiles[99] == pytest.approx(alone.ttft_s, rel=1e-6)
    assert times["latency_s"].mean == pytest.approx(alone.host_s + alone.prefill_s + alone.steps_s, rel=1e-3)


def test_heavier_loads_take_longer_until_the_queue_grows() -> None:
    """Each percentile with the rate; above what host and device serve nothing settles, and it is said by how much."""
    model = served("host.workers=8")
    results = [simulate(model, H100, letters(model), rate=rate, requests=500).value for rate in (1, 4, 8)]
    for name in ("latency_s", "ttft_s", "tpot_s"):
        for percentile in (50, 90, 99):
            means = [each.times()[name].percentiles[percentile] for each in results]
            assert means == sorted(means)
    capacity = compute_throughput(model, H100, letters(model)).pages_per_s
    over = simulate(model, H100, letters(model), rate=capacity + 2).value
    assert over.served is None and over.growth == pytest.approx(2)
    with pytest.raises(ModelMeterError, match=r"the queue grows by 2 requests/s"):
        over.times()


def test_the_seed_decides_what_is_drawn() -> None:
    """The same seed gives the same times, another one others."""
    model = served()
    one, again, other = (
        simulate(model, H100, letters(model), rate=3, requests=100, seed=seed).value.times() for seed in (1, 1, 2)
    )
    assert one == again and one != other


def test_steps_are_those_of_the_service() -> None:
    """At the batches and contexts that are asked for, exactly; a run is the sum of its steps."""
    model = served()
    pages = prepared(letters(model), model, 0)
    service = service_of(
        model, stage_times(model, H100, "fp32"), compute_throughput(model, H100, letters(model)).limits
    )
    (kind,) = pages
    seconds = float(service.prefills([kind.page.layout], [kind.page.seq_len]).cases[0][0])
    asked = {}

    def decode_s(batch: int, contexts: list[int]) -> list[float]:
        found: list[float] = service.steps(contexts, batch, 600).cases[0].tolist()
        asked[batch] = dict(zip(contexts, found, strict=True))
        return found

    steps = ModelSteps([(kind.page.seq_len, seconds)], decode_s, shortest=913, longest=1513, most=64)
    assert steps.step([Chunk(0, kind.page.seq_len, 0)], Decoding(0, 0, 0)) == pytest.approx(seconds)
    for batch in (1, 8, batches(64)[-1]):
        assert steps.step([], Decoding(batch, 913 * batch, 913)) == asked[batch][913]
        assert steps.step([], Decoding(batch, 1513 * batch, 1513)) == asked[batch][1513]
    eleven = Decoding(11, 11 * 950, 1000)
    plain = sum(steps.step([], eleven.further(each)) for each in range(500))
    assert steps.run(eleven, 500) == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize(
    ("overrides", "load", "said"),
    [
        ((), {}, "give one of a rate"),
        ((), {"rate": 1.0, "in_flight": 2}, "give one of a rate"),
        (("engine=best",), {"rate": 1.0}, "the scheduler of engine=best is not modelled; that of vllm, sglang is"),
        ((), {"rate": 1.0, "requests": 0}, "0 requests; give 1 or more"),
        ((), {"arrivals": [0.0, 2.0, 1.0]}, "request 2 arrives at 1 s, and the one before it at 2 s"),
    ],
)
def test_what_is_no_load(overrides: tuple[str, ...], load: dict[str, object], said: str) -> None:
    model = load_cost_model([*(overrides or ("engine=vllm",))])
    with pytest.raises(ModelMeterError, match=said):
        simulate(model, H100, letters(model), **load)  # type: ignore[arg-type]
