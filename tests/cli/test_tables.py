"""Tables of the commands: none is wider than the terminal, what it leaves out is said, and rows go by --sort."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from modelmeter.cli.main import main
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table

Capture = pytest.CaptureFixture[str]

SIZES = "Width;Height;Kind;n\n1275;1650;invoice;800\n600;600;a receipt with a long name;300\n1000;1414;invoice;1200\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(SIZES)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(SIZES.encode())))


@pytest.fixture
def printed(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    def run(*arguments: str, columns: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(arguments) == 0
        return capsys.readouterr().out

    return run


COMMANDS = {
    "help": [],
    "devices": ["devices"],
    "device": ["devices", "H100-SXM", "CPU-Xeon-8480"],
    "models": ["models"],
    "modes": ["modes", "1275x1650", "2000x600", "--output-tokens", "1000"],
    "modes_of_another": ["modes", "1275x1650", "--model", "olmocr_2_7b"],
    "corpus": ["corpus", "t.csv", "--by", "kind", "--output-tokens", "n"],
    "throughput": ["throughput", "1275x1650", "--output-tokens", "1000", "--concurrency", "8"],
    "throughput_priced": ["throughput", "t.csv", "--output-tokens", "n", "--price", "H100-SXM=2", "--price", "L4=1"],
    "throughput_of_one": ["throughput", "t.csv", "--by", "kind", "--output-tokens", "n", "--device", "H100-SXM"],
    "throughput_at_best": ["throughput", "1275x1650", "--output-tokens", "9", "engine=best", "--device", "RTX-4090"],
    "diff": ["diff", "1275x1650", "--a", "workload=base", "--b", "workload=gundam", "--device", "H100-SXM"],
    "diff_of_models": ["diff", "1275x1650", "--a", "model=olmocr_2_7b", "--b", "model=lighton_ocr"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_no_line_is_longer_than_80(arguments: list[str], printed: Callable[..., str]) -> None:
    out = printed(*arguments)
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert "…" not in out


def test_a_wider_terminal_has_all_columns(printed: Callable[..., str]) -> None:
    narrow, wide = printed("devices"), printed("devices", columns=130)
    left_out = "memory GB; vector TFLOP/s; tf32 TFLOP/s; int8 TFLOP/s;\nfp4 TFLOP/s"
    assert f"Left out in 80 columns: {left_out}; COLUMNS=130 shows" in narrow
    assert "Left out" not in wide
    assert len(wide.splitlines()[0]) == 130


def test_digits_are_never_cut_off(printed: Callable[..., str]) -> None:
    out = printed("modes", "1275x1650", "--exact")
    assert "4,266,546,065,408" in out
    assert max(map(len, out.splitlines())) > 80


def test_what_a_table_goes_without_comes_in_order() -> None:
    def made() -> Fitting:
        table = figures_table("name", "aaaa", "bbbb", "cccc")
        table.add_row("long words of a name", "1111", "2222", "3333")
        return Fitting(table=table, spare=("bbbb", "aaaa"))

    def at(width: int) -> list[str]:
        console = Console(file=io.StringIO(), width=width)
        for part in made().at(width):
            console.print(part)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue().splitlines()

    assert at(41)[2].split() == ["long", "words", "of", "a", "name", "1111", "2222", "3333"]
    assert at(41)[2].index("1111") - at(41)[2].index("name") == len("name") + 3
    assert at(38)[2].index("1111") - at(38)[2].index("name") == len("name") + 2  # closer
    assert at(37)[2].split()[-2:] == ["1111", "3333"]
    assert " ".join(" ".join(at(37)[3:]).split()) == "Left out in 37 columns: bbbb; COLUMNS=41 shows all, --json too."
    assert at(28)[2].split()[-1:] == ["3333"]
    assert [line.rstrip() for line in at(24)[2:4]] == ["long words of a     3333", "name"]


def test_an_interval_keeps_both_of_its_ends_or_none() -> None:
    table = figures_table("name", "low", "figure", "high")
    table.add_row("name", "1111", "2222", "3333")
    console = Console(file=io.StringIO(), width=18)
    for part in Fitting(table=table, spare=(("low", "high"),)).at(18):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    out = console.file.getvalue()
    assert "1111" not in out and "3333" not in out and "2222" in out
    assert "Left out in 18 columns: low; high;" in " ".join(out.split())


# -- --sort ----------------------------------------------------------------------------------------------------------


def names(document: str, key: str = "devices", name: str = "name") -> list[str]:
    return [each[name] for each in json.loads(document)[key]]


def test_devices_are_sorted_by_memory_then_as_asked(printed: Callable[..., str]) -> None:
    devices = json.loads(printed("devices", "--json"))["devices"]
    memory = [(each["memory_bytes"], each["memory_bandwidth_bytes_per_s"]) for each in devices]
    assert memory == sorted(memory, reverse=True)
    assert names(printed("devices", "--sort", "name", "--json")) == sorted(
        names(printed("devices", "--json")), key=str.lower
    )
    for sort, falling in (("fp8", True), ("-fp8", False)):
        rates = [
            each["matmul_flops_per_s"].get("fp8")
            for each in json.loads(printed("devices", "--sort", sort, "--json"))["devices"]
        ]
        known = [rate for rate in rates if rate is not None]
        assert rates[: len(known)] == sorted(known, reverse=falling)  # those without come last, either way
        assert set(rates[len(known) :]) == {None}


def test_results_are_sorted_by_pages_a_day_then_as_asked(printed: Callable[..., str]) -> None:
    three = ["--device", "L4", "--device", "H100-SXM", "--device", "T4", "--price", "L4=1", "--price", "H100-SXM=90"]
    asked = ["throughput", "1275x1650", "--output-tokens", "100", *three, "--json"]
    assert names(printed(*asked), "results", "device") == ["H100-SXM", "L4", "T4"]  # a T4 has no bfloat16
    assert names(printed(*asked, "--sort", "-pages"), "results", "device") == ["L4", "H100-SXM", "T4"]
    assert names(printed(*asked, "--sort", "ttft"), "results", "device") == ["H100-SXM", "L4", "T4"]
    assert names(printed(*asked, "--sort", "cost"), "results", "device") == ["L4", "H100-SXM", "T4"]
    assert names(printed(*asked, "--sort", "-device"), "results", "device") == ["T4", "L4", "H100-SXM"]


def test_groups_of_a_corpus_are_sorted_by_pages_then_as_asked(printed: Callable[..., str]) -> None:
    def groups(*options: str) -> list[str]:
        out = printed("corpus", "t.csv", "--by", "kind", *options)
        return [line.split()[0] for line in out.splitlines() if line.startswith(("invoice ", "a receipt "))]

    assert groups() == ["invoice", "a"]
    assert groups("--sort", "name") == ["a", "invoice"]
    assert groups("--sort", "-tokens") == ["a", "invoice"]


def test_a_column_that_is_none_is_refused(capsys: Capture) -> None:
    assert main(["devices", "--sort", "bandwith"]) == 2
    assert 'there is no such column to sort by; did you mean "bandwidth"?' in capsys.readouterr().err


# -- standard input --------------------------------------------------------------------------------------------------


def test_throughput_reads_a_table_on_standard_input(printed: Callable[..., str]) -> None:
    asked = ["--output-tokens", "n", "--device", "H100-SXM", "--json"]
    of_stdin, of_file = (json.loads(printed("throughput", source, *asked)) for source in ("-", "t.csv"))
    assert of_stdin["corpora"][0] == {**of_file["corpora"][0], "source": "-"}
    assert of_stdin["results"][0]["figures"] == of_file["results"][0]["figures"]


def test_standard_input_is_read_once_and_is_no_page(capsys: Capture) -> None:
    assert main(["throughput", "-", "-", "--output-tokens", "5"]) == 2
    assert "standard input (-) is given twice" in capsys.readouterr().err
    assert main(["page", "-"]) == 2
    assert (
        "- is a table of sizes on standard input, which corpus, throughput and report read" in capsys.readouterr().err
    )


def test_names_of_figures_stand_whole_where_units_can_fold(printed: Callable[..., str]) -> None:
    out = printed(*COMMANDS["throughput_of_one"])
    first = [line.split(" ")[0] for line in out.splitlines()]
    assert {"output_tokens_per_s", "tpot_interleaved_s", "max_model_len_sequences"} <= set(first)
