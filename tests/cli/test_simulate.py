"""`modelmeter simulate`: its screen, its JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelmeter.cli.main import main

Capture = pytest.CaptureFixture[str]

PAGE = ("simulate", "1275x1650", "--device", "H100-SXM", "--output-tokens", "600")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def printed(capsys: Capture, *arguments: str) -> str:
    assert main([*PAGE, *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_a_rate_has_percentiles_with_both_ends(capsys: Capture) -> None:
    """The screen has every figure, the JSON the same ones."""
    out = printed(capsys, "--rate", "3", "--requests", "300")
    assert "3 requests/s, which arrive at random (Poisson)" in out
    names = [line.split()[0] for line in out.splitlines() if line[:1].isalpha()]
    document = json.loads(printed(capsys, "--rate", "3", "--requests", "300", "--json"))
    assert set(document["figures"]) <= set(names)
    p99 = document["figures"]["latency_s_p99"]
    assert 0 < p99["fast"] < p99["value"] < p99["slow"]
    assert document["served"]["preemptions"] == 0
    assert document["scheduler"].startswith("vllm/v1/core/sched/scheduler.py")


def test_a_queue_that_grows_is_said(capsys: Capture) -> None:
    """With the rate that the replica serves, and no times."""
    out = printed(capsys, "--rate", "50")
    told = " ".join(out.split())
    assert "the replica serves 5.41 requests/s, so the queue grows by 44.6 requests/s" in told
    assert "or to 10 replicas" in told  # 50 / 5.41 = 9.2
    assert "latency_s" not in out


def test_where_the_slow_end_grows_it_answers_at_its_capacity(capsys: Capture) -> None:
    figures = json.loads(printed(capsys, "--rate", "5", "--json"))["figures"]
    assert figures["capacity"]["slow"] < 5 < figures["capacity"]["value"]
    assert figures["requests_per_s"]["slow"] == figures["capacity"]["slow"] < figures["requests_per_s"]["value"]
    assert figures["latency_s_p99"]["slow"] is None


def test_a_trace_and_a_corpus(capsys: Capture) -> None:
    """Arrivals of a file, pages of a table that names their classes."""
    Path("trace.csv").write_text("arrival_s,who\n100,a\n100.5,b\n160,c\n")
    Path("sizes.csv").write_text("width,height,kind\n1275,1650,letter\n600,1600,receipt\n")
    arguments = ("sizes.csv", "--device", "H100-SXM", "--page-class", "kind", "--trace", "trace.csv")
    assert main(["simulate", *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["load"] == {"rate": None, "in_flight": None, "requests": 3}
    assert document["served"]["seconds"] > 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "simulate: no load; give one of --rate, --concurrency and --trace"),
        (("--rate", "1", "--concurrency", "2"), "simulate: --rate and --concurrency; give one"),
        (("--rate", "0"), "0.0 requests a second is no rate"),
        (("--concurrency", "0"), "0 requests in flight"),
        (("--trace", "back.csv"), "back.csv, line 3: arrival_s 4 is before the 5 of the line above; order the lines"),
        (("--trace", "endless.csv"), "endless.csv, line 2: arrival_s 'inf' is no number of seconds"),
        (("--trace", "words.csv"), "words.csv, line 2: arrival_s 'soon' is no number of seconds"),
        (("--trace", "other.csv"), "other.csv has no column arrival_s"),
        (("--trace", "empty.csv"), "empty.csv has no request"),
        (("--trace", "nowhere.csv"), "nowhere.csv does not exist"),
        (("--rate", "1", "client=serial_batches"), "client=serial_batches sends no requests one by one"),
    ],
)
def test_what_is_refused(capsys: Capture, arguments: tuple[str, ...], said: str) -> None:
    Path("back.csv").write_text("arrival_s\n5\n4\n")
    Path("endless.csv").write_text("arrival_s\ninf\n")
    Path("words.csv").write_text("arrival_s\nsoon\n")
    Path("other.csv").write_text("time\n5\n")
    Path("empty.csv").write_text("arrival_s\n")
    assert main([*PAGE, *arguments]) == 2
    assert said in capsys.readouterr().err
