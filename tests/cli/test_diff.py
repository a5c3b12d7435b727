"""`modelmeter diff`: two configurations, two result files, and what it refuses."""

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from modelmeter.cli.diff import split_overrides
from modelmeter.cli.main import main
from modelmeter.models.deepseek_ocr import load_cost_model

Capture = pytest.CaptureFixture[str]

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/diff.md"
SIDES = ["1275x1650", "--a", "workload=base", "--b", "workload=gundam,runtime.attention=eager", "--output-tokens", "5"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def printed(capsys: Capture, *arguments: str) -> str:
    status = main(list(arguments))
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def result(capsys: Capture, path: str, *arguments: str) -> dict[str, Any]:
    text = printed(capsys, "page", *arguments, "--json")
    Path(path).write_text(text)
    document: dict[str, Any] = json.loads(text)
    return document


def test_two_configurations_as_json(capsys: Capture) -> None:
    document = json.loads(printed(capsys, "diff", *SIDES, "--device", "A100-40G", "--json"))
    a = load_cost_model(["workload=base"]).page(1275, 1650, 5)
    b = load_cost_model(["workload=gundam", "runtime.attention=eager"]).page(1275, 1650, 5)
    (page,) = document["pages"]
    rows = {(row["figure"], row["stage"]): row for row in page["stages"]}
    for (figure, stage), row in rows.items():
        one, other = (getattr(getattr(cost, stage), figure) for cost in (a, b))
        assert [int(row[key]) for key in ("a", "b", "delta")] == [one, other, other - one]
    tokens = {row["name"]: (row["a"], row["b"], row["delta"]) for row in page["tokens"]}
    assert tokens["image tokens"] == (273, 903, 630)
    changed = {each["key"]: (each["a"], each["b"]) for each in document["configuration"]}
    assert changed["runtime.attention"] == ("flash", "eager")
    assert changed["workload.crop_mode"] == (False, True)
    for figure in ("tensor_core_flops", "io_bytes"):
        delta = sum(int(each[figure]["delta"]) for each in page["operators"])
        assert delta == int(rows[figure, "total"]["delta"])
    seconds = page["predicted_s"]["total"]
    delta_s = sum(each["predicted_s"]["delta"] for each in page["operators"])
    # floats, added in another order
    assert delta_s == pytest.approx(seconds["b"] - seconds["a"])


def test_what_both_share_stands_beside_the_page(capsys: Capture) -> None:
    out = printed(capsys, "diff", "600x800", "runtime.dtype=float32", "--a", "workload=tiny", "--b", "workload=small")
    assert "A  runtime.dtype=float32 workload=tiny" in out
    assert "runtime.dtype " not in out


def test_two_results_say_what_their_configurations_say(capsys: Capture) -> None:
    result(capsys, "a.json", "1275x1650", "workload=base", "--output-tokens", "5")
    result(capsys, "b.json", "1275x1650", "workload=gundam", "runtime.attention=eager", "--output-tokens", "5")
    results = json.loads(printed(capsys, "diff", "a.json", "b.json", "--json"))
    configurations = json.loads(printed(capsys, "diff", *SIDES, "--json"))
    assert results["pages"] == configurations["pages"]
    assert results["configuration"] == configurations["configuration"]


def test_equal_results(capsys: Capture) -> None:
    result(capsys, "a.json", "600x800")
    out = printed(capsys, "diff", "a.json", "a.json")
    assert "no operator differs" in out
    assert "configuration  the same" in out


def test_a_result_of_other_code_has_figures_but_no_operators(capsys: Capture) -> None:
    document = result(capsys, "a.json", "600x800")
    document["pages"][0]["stages"]["prefill"]["tensor_core_flops"] += 2
    Path("b.json").write_text(json.dumps(document))
    out = printed(capsys, "diff", "a.json", "b.json")
    assert "the operators are not known" in out
    assert "+2" in out
    assert main(["diff", "a.json", "b.json", "--device", "T4"]) == 2
    assert "b.json is not what this version computes" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused(capsys: Capture) -> None:
    whole = result(capsys, "a.json", "600x800")
    result(capsys, "two.json", "600x800", "800x600")
    files = {
        "text.json": "page",
        "list.json": "[]",
        "none.json": "{}",
        "later.json": json.dumps(whole | {"schema_version": 2}),
        "modes.json": json.dumps(whole | {"command": "modes"}),
        "nan.json": '{"schema_version": NaN}',
        "cut.json": json.dumps({key: value for key, value in whole.items() if key != "pages"}),
    }
    os.mkfifo("pipe")
    os.mkfifo("pipe.yaml")
    for name, text in files.items():
        Path(name).write_text(text)
    for arguments, words in (
        (["a.json"], "two results are compared, and 1 is given; give two files"),
        (["a.json", "away.json"], "away.json does not exist"),
        (["a.json", "text.json"], "text.json is no JSON"),
        (["a.json", "nan.json"], "NaN is no number"),
        (["a.json", "/dev/zero"], "/dev/zero is a device; give a file"),
        (["a.json", "pipe"], "result pipe is a pipe; give a file"),
        (["600x800", "--a", "workload=tiny", "--device", "pipe.yaml"], "device file pipe.yaml is a pipe"),
        (["a.json", "list.json"], "list.json has no schema_version"),
        (["none.json", "a.json"], "none.json has no schema_version"),
        (["a.json", "later.json"], "later.json has schema version 2, this ModelMeter reads 1"),
        (["a.json", "modes.json"], "modes.json is one of `modelmeter modes`"),
        (["a.json", "cut.json"], "cut.json: pages is missing"),
        (["a.json", "two.json"], "a.json has 1 pages and two.json has 2"),
        (["a.json", "a.json", "--by", "time"], "--by time needs the time"),
        (["a.json", "a.json", "--output-tokens", "5"], "--output-tokens goes with --a and --b"),
        (["600x800", "800x600", "--a", "workload=tiny"], "2 pages are given"),
        (["--a", "workload=tiny"], "there is no page"),
        (["600x800", "--a", "workload=gundan"], 'did you mean "gundam"'),
        (["600x800", "--a", "hydra.searchpath=[pkg://evilmod]"], "is for Hydra itself"),
        (["600x800", "--b", "+hydra.run.dir=x"], "is for Hydra itself"),
        (["600x800", "--b", "runtime.prompt=${oc.env:HOME}"], "is an interpolation"),
    ):
        assert main(["diff", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert words in captured.err


CONFIGURED = {  # a key of the configuration and its value, what is said
    "hydra": ("hydra", {"searchpath": ["pkg://evilmod"]}, "config: hydra is no key of the configuration"),
    "key_of_an_override": ("a=b", 1, "config: a=b is no key of the configuration"),
    "environment": ("runtime", {"head": "${oc.env:SECRET}"}, "runtime.head=${oc.env:SECRET} is unknown"),
    "interpolation": ("decoder", {"hidden_size": "${decoder.vocab_size}"}, "is no whole number"),
    "value": ("vision", {"sam": {"depth": 100_000_000}}, "vision.sam.depth=100000000 is too large; give 1,000"),
    "group": ("workload", "base", "config: workload holds 'base'"),
}


@pytest.mark.parametrize("key, value, words", CONFIGURED.values(), ids=CONFIGURED)
def test_a_results_configuration_never_reaches_hydra(
    key: str, value: Any, words: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the environment")
    document = result(capsys, "a.json", "600x800")
    Path("evilmod").mkdir()
    Path("evilmod/__init__.py").write_text("open('ran', 'w')")
    monkeypatch.syspath_prepend(Path.cwd())
    document["configuration"][key] = value
    Path("b.json").write_text(json.dumps(document))
    assert main(["diff", "b.json", "a.json"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, words in captured.err) == ("", True)
    assert captured.err.startswith("error: result b.json: config: ")
    assert "of the environment" not in captured.err
    assert not Path("ran").exists()


def test_a_results_tokenizer_is_not_opened(capsys: Capture) -> None:
    document = result(capsys, "a.json", "600x800", "runtime.prompt_tokens=5")
    counted = {"prompt": "<image>Free OCR.", "tokenizer_path": "/dev/zero", "prompt_tokens": 10}
    document["configuration"]["runtime"] |= counted
    Path("b.json").write_text(json.dumps(document))
    compared = json.loads(printed(capsys, "diff", "a.json", "b.json", "--json"))
    assert compared["pages"][0]["operators"] == []  # the same operators, of the 5 tokens that its figures are of
    assert {each["key"] for each in compared["configuration"]} == {f"runtime.{key}" for key in counted}


def test_a_result_that_lacks_newer_keys_is_read(capsys: Capture) -> None:
    document = result(capsys, "a.json", "600x800", "workload=base")
    del document["configuration"]["runtime"]["reserve_bytes"], document["configuration"]["execution"]
    Path("b.json").write_text(json.dumps(document))
    out = printed(capsys, "diff", "a.json", "b.json")
    assert "configuration  the same" in out
    assert "no operator differs" in out


def test_a_comma_parts_overrides_but_not_a_list() -> None:
    given = ["workload=base,decoder.num_hidden_layers=2", "vision.sam.global_attn_indexes=[2,5]", ""]
    expected = ["workload=base", "decoder.num_hidden_layers=2", "vision.sam.global_attn_indexes=[2,5]"]
    assert split_overrides(given) == expected


EXAMPLES = re.findall(r"```console\n\$ modelmeter (.*?)\n(.*?)```", DOCUMENT.read_text("utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("arguments, shown", EXAMPLES, ids=[arguments for arguments, _ in EXAMPLES])
def test_the_examples_of_the_document_are_real(
    arguments: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    main(shlex.split(arguments))
    captured = capsys.readouterr()
    assert captured.out + captured.err == shown
