"""Requests of several pages and with a cached prefix on a synthetic model and device, by hand."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from modelmeter.devices import PageKind, Throughput, compute_throughput, load_device
from modelmeter.models.common.engines import ClientSchema, EngineSchema, HostSchema
from modelmeter.models.common.request import Request
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.simulation.load import simulate
from tests.devices.synthetic import Page, TinyModel, TinyTimes, slow_device

#: a prefill takes its positions in seconds, a step of 2 pages 5 + context / 5
PAGE = Page(seq_len=5)
STEPS = Fraction("18.6")  # three of two pages each: 6 + 6.2 + 6.4


def result(tmp_path: Path, request: Request, *, host_s: float = 0.0, **settings: Any) -> Throughput:
    named = {key: settings.pop(key) for key in ("engine", "client") if key in settings}
    model = TinyModel(request=request, host=HostSchema(seconds_per_page=host_s, spread=0.0), **named)
    kind: PageKind[Page] = PageKind(page=PAGE, output_tokens=3, count=10)
    return compute_throughput(model, slow_device(tmp_path), [kind], times=TinyTimes(), **{"batch_size": 2} | settings)


def near(value: float | Fraction) -> Any:
    return pytest.approx(float(value), rel=1e-12)


def test_a_request_of_four_pages_is_four_pages(tmp_path: Path) -> None:
    made = result(tmp_path, Request(pages=4), price_per_hour=7.2)
    request_s = 5 + STEPS / 2
    assert (made.page_s, made.ttft_s, made.tpot_s) == (near(request_s), 5, near(STEPS / 3))
    assert (made.requests_per_s, made.pages_per_s) == (near(1 / request_s), near(4 / request_s))
    assert made.output_tokens_per_s == near(3 / request_s)
    assert made.corpus_s == near(10 * request_s / 4)
    assert made.cost_per_1000_pages == near(250 * request_s * Fraction("0.002"))  # 7.2 an hour
    figures = {figure.name: figure for figure in made.figures()}
    assert (figures["batch_size"].unit, figures["requests_per_s"].unit) == ("requests", "requests/s")
    assert "requests_per_s" not in {figure.name for figure in result(tmp_path, Request()).figures()}


def test_the_host_prepares_every_page_of_a_request(tmp_path: Path) -> None:
    made = result(tmp_path, Request(pages=4), host_s=10)
    assert (made.host_s, made.host_pages_per_s, made.pages_per_s) == (40, near(Fraction(1, 10)), near(Fraction(1, 10)))
    assert made.ttft_s == 45
    client = ClientSchema(name="serial_batches", batch_size=2, seconds_per_page=3.0)
    serial = result(tmp_path, Request(pages=4), host_s=10, client=client)
    # 8 pages are encoded, the first request's 4 prepared, the second's while it is prefilled, then both decode
    assert serial.batch_s == near(8 * 3 + 40 + 40 + 5 + STEPS)
    assert serial.pages_per_s == near(8 / (8 * 3 + 85 + STEPS))


def test_a_prefill_is_the_mean_over_hits_and_misses(tmp_path: Path) -> None:
    request = Request(system_tokens=4, hit_share=Fraction(3, 4), block_size=3)  # 3 positions of 5 are cached
    made = result(tmp_path, request)
    assert made.prefill_s == near(Fraction(1, 4) * 5 + Fraction(3, 4) * 2)
    assert made.steps_s == near(STEPS)
    all_hit = result(tmp_path, Request(system_tokens=4, hit_share=Fraction(1), block_size=3))
    assert (all_hit.prefill_s, all_hit.share("prefill", "gemm")) == (2, 1)


def test_a_hit_takes_fewer_passes(tmp_path: Path) -> None:
    engine = EngineSchema(name="best", max_num_batched_tokens=2)  # of 5 positions: 3 passes, of 2 one
    host = HostSchema(seconds_per_page=0.0, seconds_per_prefill=10.0, spread=0.0)
    request = Request(system_tokens=3, hit_share=Fraction(1, 2))
    model = TinyModel(request=request, host=host, engine=engine)
    kind: PageKind[Page] = PageKind(page=PAGE, output_tokens=3)
    made = compute_throughput(model, slow_device(tmp_path), [kind], times=TinyTimes(), batch_size=2)
    assert made.prefill_s == near(Fraction(35 + 12, 2))


def test_requests_that_hit_hold_the_prefix_once(tmp_path: Path) -> None:
    # a pool of 0.9 x 1000 - 100 of weights: 800 bytes, 2 a token; a request takes 8 tokens
    engine = EngineSchema(name="best", gpu_memory_utilization=0.9, reserve_bytes=0, block_size=2)

    def most(request: Request) -> int:
        return result(tmp_path, request, engine=engine, batch_size=None).batch_size

    def held(batch: int, share: Fraction) -> int:
        return batch * 8 - max(int(batch * share) - 1, 0) * 4

    for share in (Fraction(0), Fraction(1, 2), Fraction(1)):
        request = Request(system_tokens=5, hit_share=share, block_size=2)
        batch = most(request)
        assert held(batch, share) <= 400 < held(batch + 1, share), share
    assert most(Request()) == 50
    assert most(Request(system_tokens=5, hit_share=Fraction(1), block_size=2)) == 99


def test_a_model_that_is_served() -> None:
    """The same on a real one: a prefix that all find costs less, and never less than nothing before it.

    On a device whose kernels, not the host that issues them, decide a prefill.
    """
    device = load_device("L4")

    def made(*keys: str) -> Throughput:
        model = load_cost_model(["engine=vllm", *(f"runtime.{key}" for key in keys)])
        return compute_throughput(model, device, [PageKind(page=model.page(1275, 1650), output_tokens=500)])

    none, missed, hit = (made(*keys) for keys in ((), _PREFIX, (*_PREFIX, "prefix_cached=1")))
    assert none.prefill_s < hit.prefill_s < missed.prefill_s
    half = made(*_PREFIX, "prefix_cached=0.5")
    assert half.prefill_s == near((hit.prefill_s + missed.prefill_s) / 2)
    assert hit.batch_size > missed.batch_size


_PREFIX = ("system_prompt_tokens=2000",)


def test_a_load_of_requests_is_served_at_their_rate() -> None:
    model = load_cost_model(["engine=vllm", "runtime.pages_per_request=2", "host.workers=8"])
    device = load_device("H100-SXM")
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=500)]
    most = compute_throughput(model, device, kinds)
    load = simulate(model, device, kinds, rate=0.2, requests=50)
    assert load.value.capacity == near(most.requests_per_s)
    assert load.value.capacity == near(most.pages_per_s / 2)
