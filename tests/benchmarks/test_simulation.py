"""The simulation's report: a step of measured kernels by hand, the links between two cards, and theory's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.simulation import cells, report, theory
from benchmarks.simulation.traces import UNEVEN, Measured, Trace, between, ring
from modelmeter.simulation.scheduler import Chunk, Decoding

TRACE = Trace(card="card", name="name", model="model", layers=3, cards=2, hidden_size=10, vocab_size=100)

#: microseconds: of a layer by tokens, and of the end by sequences
DENSE: Mapping[str, tuple[float, float]] = {
    "layernorm": (1, 3),
    "qkv_proj": (10, 30),
    "embedding": (5, 7),
    "final_layernorm": (2, 4),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Kernels at 100 and 300 tokens, attention linear in its contexts."""
    rows = [
        f"{name},{tokens},{us}" for name, pair in DENSE.items() for tokens, us in zip((100, 300), pair, strict=True)
    ]
    (tmp_path / "dense.csv").write_text("\n".join(["layer,tokens,time_us", *rows]))
    (tmp_path / "per_sequence.csv").write_text("layer,sequences,time_us\nlm_head,1,50\nlm_head,201,250\n")
    attention = ["0,0,100,1000,100", "0,0,100,3000,300", "200,0,100,1000,150", "200,0,100,3000,450", "200,0,0,0,40"]
    (tmp_path / "attention.csv").write_text(
        "\n".join(["prefill_chunk,kv_prefill,n_decode,kv_decode,time_us", *attention])
    )
    return tmp_path


def test_a_step_is_the_sum_of_its_kernels(folder: Path) -> None:
    """100 requests whose contexts are 1,500 on average and 2,500 at most, alone and beside a prompt of 200."""
    steps = Measured(folder, TRACE, None)
    decoding = Decoding(100, 150_000, 2500)
    # four kernels a layer: two layer norms, a product, attention; attention 150 at the mean, 250 at the longest
    layer, once = 2 * 1 + 10 + (150 + UNEVEN * (250 - 150)), 5 + 2 + (50 + 99)
    assert steps.step((), decoding) == pytest.approx(1e-6 * (3 * layer + once + 3 * 4))
    layer, once = 2 * 3 + 30 + 225, 7 + 4 + (50 + 100)
    assert steps.step([Chunk(0, 200, 0)], decoding) == pytest.approx(1e-6 * (3 * layer + once + 3 * 4))
    further = Decoding(100, 150_100, 2501)
    assert steps.run(decoding, 2) == pytest.approx(steps.step((), decoding) + steps.step((), further))


def test_two_cards_send_what_is_reduced_and_the_logits(folder: Path) -> None:
    """Seven all-reduces of 100 x 10 values of 2 bytes, and a gather of 100 x 50."""
    decoding = Decoding(100, 150_000, 2500)
    alone = Measured(folder, TRACE, None).step((), decoding)
    over = Measured(folder, TRACE, ring("", "", 1e-6, 1e9)).step((), decoding)
    assert over - alone == pytest.approx(7 * 2 * (1e-6 + 1000 / 1e9) + (1e-6 + 10_000 / 1e9))


def test_measured_links_are_straight_between_logarithms() -> None:
    link = between("", "", ((100, 10.0), (10_000, 1000.0)))
    assert link.all_reduce_s(1000) == pytest.approx(100e-6) and link.all_reduce_s(50) == pytest.approx(10e-6)
    assert link.all_gather_s(500) == pytest.approx(50e-6)


def test_a_closed_loop_is_within_its_limits() -> None:
    for workers in (1, 4):
        for in_flight in (1, 6, 32):
            found, most = theory.closed(in_flight, workers, 200), theory.closed_at_most(in_flight, workers)
            assert 0.9 * most < found <= most * (1 + 1e-9)


@pytest.mark.slow
def test_theorys_rows_stand_in_the_report() -> None:
    assert "\n".join(report.of_theory().lines) in (report.REPORTS / "simulation.md").read_text(encoding="utf-8")


def test_cells_are_simulated_in_the_order_of_what_was_published() -> None:
    """By workers, then by requests in flight; more of both serve no fewer."""
    sweep = replace(cells.PADDLE[1], in_flight=(1, 8), workers=(1, 2), published=((1.0,),) * 4)
    rates = [each.value.requests_per_s for each in sweep.simulated()]
    assert rates[0] < rates[1] and rates[2] < rates[3] and rates[1] < rates[3]
    assert rates[0] == pytest.approx(rates[2]) and rates[1] == pytest.approx(cells.PADDLE_CELLS[0][0], rel=0.02)
    for each in (*cells.JINA, *cells.PADDLE):
        assert len(each.published) == len(each.in_flight) * len(each.workers)
