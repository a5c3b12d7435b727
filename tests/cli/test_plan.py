"""`modelmeter plan` and `modelmeter run`: screens, JSON, saved plans, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from modelmeter.cli.main import main
from modelmeter.cli.run import differences
from modelmeter.cli.scenario import KINDS

Capture = pytest.CaptureFixture[str]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "scenarios"
DOCUMENT = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
PLAN = ("plan", "letter@150", "--output-tokens", "600", "--requests", "300", "--device", "H100-SXM,L40S,T4")
PRICES = ("--price", "H100-SXM=2.5", "--price", "L40S=0.9", "--price", "T4=0.2")
LOAD = ("--pages", "30e6/month", "--peak-factor", "3")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def printed(capsys: Capture, *arguments: str, status: int = 0) -> str:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_the_screen_answers_first(capsys: Capture) -> None:
    """How many of what, for how much; a row a way; why the others lose; and the simulation that it rests on."""
    out = printed(capsys, *PLAN, *LOAD, *PRICES, "--max-latency", "30s", "--spare", "1")
    document = json.loads(printed(capsys, *PLAN, *LOAD, *PRICES, "--max-latency", "30s", "--spare", "1", "--json"))
    best = document["rows"][0]
    first = " ".join(out.split("pages  ")[0].split())
    assert first.startswith(f"answer {best['gpus']} {best['device']}, 1 of them spare (up to {best['gpus_slow']} ")
    thousand = best["money_a_month"] / 30_000
    assert first.endswith(
        f"{best['money_a_month']:,.0f} money a month, around the clock, {thousand:.3g} money for 1,000 pages"
    )
    assert best["money_for_1000_pages"] == pytest.approx(thousand)
    assert "30,000,000 pages a month: 11.41, at the peak 3 x: 34.22 requests/s" in out
    assert "T4 lists no matmul peak for bf16" in out
    assert "more than one host a replica" in out
    assert [row["verdict"] for row in document["rows"]] == ["best", "dearer", "refused"]
    simulated = " ".join(out[out.index("modelmeter simulate") : out.index("\nlabels")].split())
    again = json.loads(printed(capsys, *simulated.split()[1:], "--json"))
    assert again["figures"]["latency_s_p95"]["value"] == pytest.approx(best["latency_s_p95"], rel=1e-3)


def test_nothing_holds_the_limits(capsys: Capture) -> None:
    """Exit status 1, what comes nearest, and by how much a limit is to be relaxed."""
    out = printed(capsys, *PLAN, *LOAD, "--max-latency", "300ms", status=1)
    told = " ".join(out.split())
    assert told.startswith("answer nothing holds the limits; nearest: deepseek_ocr (gundam) by vllm on H100-SXM: ")
    assert "x the 0.3 s asked for; --max-latency" in told and "lets it pass" in told


@pytest.mark.parametrize("sort", ["money", "gpus", "latency", "ttft", "energy", "quality"])
def test_rows_may_be_sorted(capsys: Capture, sort: str) -> None:
    out = printed(capsys, *PLAN, *LOAD, *PRICES, "--sort", sort)
    rows = [line.split()[0] for line in out.splitlines() if line.startswith(("H100", "L40S")) and line.endswith("]")]
    assert sorted(rows) == ["H100-SXM", "L40S"]
    assert rows[0] == {"gpus": "H100-SXM", "latency": "H100-SXM"}.get(sort, rows[0])


def test_several_models_and_engines(capsys: Capture) -> None:
    """A row each; an engine whose scheduler is not simulated says so."""
    models = ("--models", "deepseek_ocr,lighton_ocr", "--engine", "vllm,sglang,best")
    document = json.loads(printed(capsys, *PLAN[:-1], "H100-SXM", *LOAD, *models, "--json"))
    assert {(row["model"], row["engine"]) for row in document["rows"] if row["verdict"] != "refused"} == {
        (model, engine) for model in ("deepseek_ocr", "lighton_ocr") for engine in ("vllm", "sglang")
    }
    refused = [row["why"] for row in document["rows"] if row["verdict"] == "refused"]
    assert refused and all("engine=best is not modelled" in why for why in refused)


def test_a_model_that_cannot_answer_keeps_its_row(capsys: Capture) -> None:
    """Nobody counted its tokens; the other one has its GPUs."""
    asked = ("plan", "letter@150", "--page-class", "letter", "--pages", "1/second", "--requests", "300")
    rows = json.loads(
        printed(capsys, *asked, "--device", "L40S", "--models", "granite_docling,deepseek_ocr,qwen2_vl", "--json")
    )
    first, last, parts = rows["rows"]
    assert (first["model"], first["gpus"]) == ("deepseek_ocr", 1)
    assert last["model"] == "granite_docling" and "no source counts its tokenizer's tokens" in last["why"]
    assert parts["model"] == "qwen2_vl" and "by its regions, in several passes" in parts["why"]


def test_precisions_are_ways_too(capsys: Capture) -> None:
    """A row each; weights that were packed later have no published quality; a card that was too small may do."""
    asked = ("plan", "letter@150", "--output-tokens", "600", "--requests", "300", "--pages", "1/second")
    packed = ("--device", "RTX-3070,L40S", "--precision", "unquantised,awq", "--quality", "OmniDocBench v1.5")
    rows = json.loads(printed(capsys, *asked, *packed, "--json"))["rows"]
    found = {(row["device"], row["precision"]): row for row in rows}
    assert {key: row["verdict"] == "refused" for key, row in found.items()} == {
        ("RTX-3070", "unquantised"): True,
        ("RTX-3070", "awq"): False,
        ("L40S", "unquantised"): False,
        ("L40S", "awq"): False,
    }
    assert found["L40S", "awq"]["quality"] is None and found["L40S", "unquantised"]["quality"] is not None
    unknown = "nothing was published of the best way"
    for precision, told in (("awq", True), ("unquantised", False)):
        asked_for = ("--device", "L40S", "--precision", precision, "--quality", "OmniDocBench v1.5")
        assert (unknown in printed(capsys, *asked, *asked_for)) == told
    out = printed(capsys, *asked, "--device", "RTX-3070", "--precision", "awq")
    assert "(gundam, awq) by vllm" in out and "precision=awq --model" in out


def test_replicas_of_several_gpus_are_ways_too(capsys: Capture) -> None:
    """A row each, whose GPUs are its replicas times as many; what does not divide, and a card alone, say so."""
    asked = ("plan", "letter@150", "--output-tokens", "600", "--requests", "300", "--pages", "6/second", "--all")
    rows = json.loads(
        printed(capsys, *asked, "--device", "L40S,RTX-3070,M2-Max", "--tensor-parallel", "1,2,4", "--json")
    )["rows"]
    found = {(row["device"], row["tensor_parallel"]): row for row in rows}
    assert {key for key, row in found.items() if row["verdict"] != "refused"} == {
        ("L40S", "1"),
        ("L40S", "2"),
        ("RTX-3070", "2"),
    }
    for (_, split), row in found.items():
        if row["verdict"] != "refused":
            assert row["gpus"] == int(split) * row["replicas"]
    assert "num_attention_heads=10 does not divide by it" in found["L40S", "4"]["why"]
    assert "link" in found["M2-Max", "2"]["why"]
    out = printed(capsys, *asked, "--device", "RTX-3070", "--tensor-parallel", "2")
    assert "RTX-3070, 2 a replica" in out and "parallel.tensor=2 --model" in out and "of its 2 GPUs a page" in out


def test_how_several_gpus_split_says_nothing_of_one(capsys: Capture) -> None:
    """Beside 2 GPUs 1 is a way without whole experts; asked for alone it is refused, as everywhere."""
    asked = ("plan", "letter@150", "--output-tokens", "600", "--requests", "100", "--pages", "1/second", "--all")
    split = (*asked, "--device", "L40S", "parallel.expert=true", "--json", "--tensor-parallel")
    rows = json.loads(printed(capsys, *split, "1,2"))["rows"]
    assert {row["tensor_parallel"]: row["gpus"] for row in rows} == {"1": 1, "2": 2}
    assert all(row["verdict"] != "refused" for row in rows)
    assert main([*split, "1"]) == 2
    assert "parallel.tensor=1 is one device" in capsys.readouterr().err


def test_a_saved_plan_runs_again_to_the_same(capsys: Capture) -> None:
    """And says which figures differ where they do."""
    Path("prices.yaml").write_text(
        "currency: EUR\nper: hour\ndate: 2026-11-20\nsource: our contract\nprices:\n  H100-SXM: 2.5\n  L40S: 0.9\n"
    )
    asked = ("plan", "letter@150", "--output-tokens", "600", "--requests", "300", *LOAD, "--prices", "prices.yaml")
    out = printed(capsys, *asked, "--spare", "1", "host.workers=4", "-o", "plan.yaml")
    assert "EUR an hour, our contract, 2026-11-20" in out
    saved = yaml.safe_load(Path("plan.yaml").read_text())
    assert saved["inputs"] == ["letter@150", "host.workers=4"]
    assert saved["options"] == {
        "pages": "30e6/month",
        "peak-factor": 3.0,
        "spare": 1,
        "output-tokens": ["600"],
        "prices": "prices.yaml",
        "requests": 300,
    }
    assert "the same as plan.yaml, of " in printed(capsys, "run", "plan.yaml")
    Path("prices.yaml").write_text(Path("prices.yaml").read_text().replace("2.5", "5"))
    out = printed(capsys, "run", "plan.yaml", status=1)
    assert "figures differ from plan.yaml" in out
    assert "prices.an_hour.H100-SXM: 2.5, now 5.0" in out


def test_options_of_several_names_have_two(capsys: Capture) -> None:
    """In the singular and the plural, on the command line and in files; help has one, a saved plan that of the help."""
    asked = ("plan", "letter@150", "--output-tokens", "600", "--requests", "300", "--pages", "1/second")
    plural = ("--devices", "L40S", "--engines", "vllm", "--precisions", "unquantised,awq")
    singular = tuple(each[:-1] if each.startswith("--") else each for each in plural)
    assert printed(capsys, *asked, *plural, "-o", "saved.yaml", "--json") == printed(
        capsys, *asked, *singular, "--json"
    )
    options = yaml.safe_load(Path("saved.yaml").read_text())["options"]
    assert {name: options[name] for name in ("device", "engine", "precision")} == {
        "device": ["L40S"],
        "engine": ["vllm"],
        "precision": ["unquantised,awq"],
    }
    for command in ("plan", "compare", "fit"):
        words = printed(capsys, command, "--help").split()
        assert not {"--devices", "--engines", "--device,", "--precision,", "--precisions,"} & set(words)
    known = next(
        each["properties"]["options"]["properties"]
        for each in json.loads(printed(capsys, "run", "--schema"))["oneOf"]
        if each["properties"]["kind"]["const"] == "plan"
    )
    assert known["devices"] == known["device"] and known["engines"] == known["engine"]
    scenario = {"kind": "plan", "inputs": ["letter@150"], "options": {"pages": "1/second", "requests": 300}}
    scenario["options"] |= {"output-tokens": 600, "devices": ["L40S"], "engines": "vllm"}
    Path("plural.yaml").write_text(yaml.safe_dump(scenario))
    assert "answer   1 L40S" in printed(capsys, "run", "plural.yaml")


def test_the_tables_have_the_percentile_of_the_limits(capsys: Capture) -> None:
    asked = (*PLAN[:-1], "L40S", "--pages", "5/second", "--max-latency", "60s", "--percentile", "90")
    heads = printed(capsys, *asked)
    assert [each for each in ("p50", "p90", "p95", "p99") if heads.count(f" {each} ") >= 2] == [
        "p50",
        "p90",
        "p95",
        "p99",
    ]
    (row,) = json.loads(printed(capsys, *asked, "--json"))["rows"]
    assert row["latency_s_p50"] < row["latency_s_p90"] < row["latency_s_p95"]


def test_pages_that_run_away(capsys: Capture) -> None:
    """A share, or a published one by its name; kept, and in the line that simulates it."""
    asked = (*PLAN[:-1], "H100-SXM", "--pages", "5/second", "--spare", "1")
    out = printed(capsys, *asked, "--runaway-share", "old_prints", "-o", "saved.yaml")
    assert "letter@150; 5.4 % repeat to the last position" in out and "runaway share old_prints (runaway_share)" in out
    assert yaml.safe_load(Path("saved.yaml").read_text())["options"]["runaway-share"] == "old_prints"
    assert "the same as saved.yaml" in printed(capsys, "run", "saved.yaml")
    simulated = " ".join(out[out.index("modelmeter simulate") : out.index("\nlabels")].split())
    again = json.loads(printed(capsys, *simulated.split()[1:], "--json"))
    row = yaml.safe_load(Path("saved.yaml").read_text())["result"]["rows"][0]
    assert again["runaway_share"] == pytest.approx(0.054, abs=5e-4)
    assert again["figures"]["latency_s_p95"]["value"] == pytest.approx(row["latency_s_p95"], rel=1e-3)
    simulated = printed(capsys, *simulated.split()[1:])
    assert simulated.splitlines()[0].endswith("at random (Poisson); 5.4 % repeat to the last position")


def test_a_pool_that_runs_full_is_said(capsys: Capture) -> None:
    """One small card near its capacity puts requests back."""
    asked = ("plan", "letter@150", "--output-tokens", "300:1,600:1,1000:1", "--device", "RTX-3060-12GB")
    rates = [("0.9/second", True), ("0.5/second", False)]
    for rate, full in rates:
        out = printed(capsys, *asked, "--pages", rate, "--max-latency", "10min")
        assert ("\npool     full at times: " in out) == full


def test_what_does_not_fit_is_told_what_may(capsys: Capture) -> None:
    """A card that is too small: packed weights, unless some were asked for; no other refusal says so."""
    asked = (*PLAN[:-1], "RTX-3070,T4,L40S", "--pages", "1/second", "--json")
    rows = {row["device"]: row for row in json.loads(printed(capsys, *asked))["rows"]}
    assert {name: row["change"] for name, row in rows.items() if row["verdict"] == "refused"} == {
        "RTX-3070": "--precision all says which packed weights fit, "
        "--tensor-parallel 2,4 splits the model over several",
        "T4": "",
    }


def test_differences_name_rows_and_figures() -> None:
    row = {"model": "m", "precision": "p", "device": "d", "tensor_parallel": "2", "engine": "e", "gpus": 2}
    before = {"rows": [row], "limits": {"ttft_s": 2.0}, "gone": 1}
    now = {"rows": [row | {"gpus": 3}], "limits": {"ttft_s": 2.0 * (1 + 1e-12)}, "new": "x"}
    assert list(differences(before, now)) == [
        "rows[m p d 2 e].gpus: 2, now 3 (+50.00%)",
        "gone: it was 1, now gone",
        "new: it was not there, now 'x'",
    ]


def test_the_documents_decision_is_real(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is what its words say of it."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")
    ((arguments, shown),) = re.findall(r"```console\n\$ modelmeter (plan .*?)\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    assert printed(capsys, *arguments.split()) == shown
    assert shown.startswith("answer   8 L40S, 1 of them spare (up to 9 where")
    assert "eight L40S" in DOCUMENT and "nine are needed" in DOCUMENT


CHANGES = re.findall(r"^\| `([^`]+)` \| ([\d,]+) (\S+) \| ([\d,]+) \|$", DOCUMENT, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=[each[0] for each in CHANGES])
def test_the_documents_changes_are_real(
    change: tuple[str, str, str, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question with one option more, and the purchase that is the answer then."""
    monkeypatch.chdir(ROOT)
    asked = re.findall(r"```console\n\$ modelmeter (plan .*?)\n", DOCUMENT)[0].split()
    words, gpus, device, money = change
    best = json.loads(printed(capsys, *asked, *words.split(), "--json"))["rows"][0]
    assert (f"{best['gpus']:,}", best["device"], f"{best['money_a_month']:,.0f}") == (gpus, device, money)


def test_the_document_has_changes() -> None:
    assert len(CHANGES) == DOCUMENT.split("## What moves the number")[1].split("##")[0].count("| `") == 9


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_run(capsys: Capture, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each kind, as the command that it stands for, but for the seconds that a corpus took."""
    monkeypatch.chdir(ROOT)
    scenario = yaml.safe_load((EXAMPLES / f"{kind}.yaml").read_text(encoding="utf-8"))
    assert scenario["kind"] == kind
    words = [
        word
        for key, value in scenario["options"].items()
        for each in (value if isinstance(value, list) else [value])
        for word in (f"--{key}", str(each))
    ]
    printed_by = []
    for arguments in (["run", str(EXAMPLES / f"{kind}.yaml")], [kind, *scenario["inputs"], *words]):
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        printed_by.append([line for line in lines if not line.startswith("time ")])
    assert printed_by[0] and printed_by[0] == printed_by[1]


def test_the_schema_is_of_the_examples_and_of_what_is_saved(capsys: Capture) -> None:
    """Every key of each is there, and its value is of a type that is there."""
    schema = json.loads(printed(capsys, "run", "--schema"))
    of_kind = {each["properties"]["kind"]["const"]: each["properties"] for each in schema["oneOf"]}
    assert set(of_kind) == set(KINDS)
    printed(capsys, *PLAN, *LOAD, *PRICES, "--all", "-o", "saved.yaml")
    for path in (*(EXAMPLES / f"{kind}.yaml" for kind in KINDS), Path("saved.yaml")):
        scenario = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = of_kind[scenario["kind"]]
        assert set(scenario) <= set(known)
        for key, value in scenario["options"].items():
            option = known["options"]["properties"][key]
            assert option["description"]
            if isinstance(value, list):
                assert option["anyOf"][1]["type"] == "array"
            elif "anyOf" not in option:
                assert isinstance(value, bool) == (option["type"] == "boolean")
    assert main(["run"]) == 2 and main(["run", "--schema", "saved.yaml"]) == 2
    told = capsys.readouterr().err
    assert "run: there is no file" in told and "--schema runs nothing" in told


SCENARIO = "kind: plan\ninputs: [letter@150]\noptions:\n  pages: 1e6/day\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: plan", "kind: plant", 'kind=plant is unknown; did you mean "plan"?'),
        ("kind: plan\n", "", "kind is missing"),
        ("inputs: [letter@150]", "inputs: letter@150", "inputs='letter@150' is no list"),
        ("  pages: 1e6/day", "  page: 1e6/day", 'plan has no option page, which options holds; did you mean "pages"'),
        ("  pages: 1e6/day", "  pages: [a, b]", "options.pages takes one value, and there are 2"),
        ("  pages: 1e6/day", "  all: maybe", "options.all='maybe' is neither true nor false"),
        ("  pages: 1e6/day", "  pages: {a: 1}", "is neither text nor a number"),
        ("kind: plan", "other: 1\nkind: plan", "other is no key of a scenario"),
        ("kind: plan", "result: {}\nkind: page", "a result is kept of a plan alone"),
    ],
)
def test_what_is_no_scenario(capsys: Capture, old: str, new: str, said: str) -> None:
    assert old in SCENARIO
    text = SCENARIO.replace(old, new)
    Path("scenario.yaml").write_text(text.replace("  pages: 1e6/day\n", "") if "kind: page" in new else text)
    assert main(["run", "scenario.yaml"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pages", "30e6"), "names no period; write 30e6/month"),
        ((*LOAD, "--max-latency", "60"), "--max-latency 60 has no unit; write 60s"),
        ((*LOAD, "--peak-factor", "0.5"), "--peak-factor 0.5 is no peak"),
        ((*LOAD, "--percentile", "97"), "--percentile 97 is not told"),
        ((*LOAD, "--price", "2.5"), "--price 2.5 is for one device; with several write DEVICE=2.5"),
        ((*LOAD, "--price", "A10=1"), "A10 is not asked for"),
        ((*LOAD, "--price", "L40S=2.5USD"), "--price L40S=2.5USD is no price of an hour; give a number, 0 or more"),
        ((*LOAD, "--price", "L40S=-1"), "--price L40S=-1 is no price of an hour"),
        ((*LOAD, "--price", "L40S=nan"), "--price L40S=nan is no price of an hour"),
        ((*LOAD, *PRICES, "--prices", "prices.yaml"), "both say prices; leave one out"),
        ((*LOAD, "--prices", "bare.yaml"), "currency is missing; a price without it says nothing"),
        ((*LOAD, "--sort", "money"), "--sort money needs prices"),
        ((*LOAD, "--quality", "Nothing"), "--quality Nothing: there is no such benchmark"),
        ((*LOAD, "--precision", "awq", "precision=gptq"), "both say how weights are packed"),
        ((*LOAD, "--tensor-parallel", "2", "parallel.tensor=2"), "both say how a model is split"),
        ((*LOAD, "--device", "H100-SXM"), "--device H100-SXM is given 2 times"),
        ((*LOAD, "-"), "standard input (-) can be read once"),
        ((*LOAD, "runtime.batch_size=0"), "runtime.batch_size=0"),
    ],
)
def test_what_is_refused(capsys: Capture, arguments: tuple[str, ...], said: str) -> None:
    Path("bare.yaml").write_text("prices:\n  H100-SXM: 2.5\n")
    assert main([*PLAN, *arguments]) == 2
    assert said in capsys.readouterr().err
