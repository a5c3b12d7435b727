"""The report of a plan: its first section is the plan that `modelmeter plan` answers, the others are its pages'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmeter.cli.main import main
from modelmeter.report.plan_tables import NOT_MODELLED

Capture = pytest.CaptureFixture[str]

ASKED = ("letter@150", "--pages", "30e6/month", "--peak-factor", "3", "--max-latency", "60s", "--requests", "300")
MORE = ("--spare", "1", "--device", "H100-SXM,L40S,T4", "--price", "H100-SXM=2.5", "--price", "L40S=0.9")
SAYS = ("--output-tokens", "300:0.5,600:0.3,2000:0.2", "--price", "T4=0.2")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def printed(capsys: Capture, *arguments: str, status: int = 0) -> dict[str, Any]:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


@pytest.fixture
def plan(capsys: Capture) -> dict[str, Any]:
    """A plan that was saved, as its own JSON."""
    return printed(capsys, "plan", *ASKED, *MORE, *SAYS, "-o", "plan.yaml", "--json")


def items(block: dict[str, Any]) -> dict[str, Any]:
    return {item["label"]: item["value"] for item in block["items"]}


def test_the_plan_comes_first_with_the_figures_of_its_own_json(capsys: Capture, plan: dict[str, Any]) -> None:
    document = printed(capsys, "report", "plan.yaml", "--json")
    assert list(document["sections"])[:3] == ["plan", "overview", "devices"]
    first, best = document["sections"]["plan"], plan["rows"][0]
    assert document["title"] == "ModelMeter plan" and document["subject"] == "30,000,000 pages a month: letter@150"
    assert first["texts"][0].startswith(f"{best['gpus']} {best['device']}, 1 of them spare (up to {best['gpus_slow']} ")
    holding = [row for row in plan["rows"] if row["verdict"] in ("best", "dearer")]
    shown = first["ways"]["rows"]
    assert [row["device"] for row in shown] == [row["device"] for row in holding] and len(shown) == 2
    for row, own in zip(shown, holding, strict=True):
        figures = {key: value for key, value in row.items() if key in own and not key.endswith("_unit")}
        figures |= {"decided_by": [row["decided_by"]], "efficient": row["efficient"] == "*"}
        quality = own["quality"] and own["quality"]["value"]
        assert figures == {key: own[key] for key in figures} | {"quality": quality}
        assert {"gpus", "gpus_slow", "load", "latency_s_p95", "ttft_s_p99", "cores", "money_a_month"} <= set(figures)
        assert row["energy_kwh_a_month"] == own["energy_kwh_a_month_at_most"]
    verdicts = first["verdicts"]["rows"]
    assert [row["device"] for row in verdicts] == [row["device"] for row in plan["rows"]]
    assert [(row["why"] or "", row["change"] or "") for row in verdicts] == [
        (row["why"], row["change"]) for row in plan["rows"]
    ]
    asked = items(first["asked"])
    assert asked["limits"] == "--max-latency 60 s for 95 of 100 pages" and "34.22 requests/s" in asked["rate"]
    assert [item["value"] for item in first["check"]["items"] if item["label"] == "not modelled"] == list(NOT_MODELLED)
    assert items(first["check"])["kept"].startswith("the same as plan.yaml, of ")
    origins = {column["origin"] for column in first["ways"]["columns"].values()} - {"", "simulation, slow end"}
    assert origins == set(items(first["origins"]))


def test_the_pages_are_those_of_the_best_way(capsys: Capture, plan: dict[str, Any]) -> None:
    """Its device, its engine, its host, and the median of what pages say: half of them say 300."""
    sections = printed(capsys, "report", "plan.yaml", "--json")["sections"]
    best = plan["rows"][0]
    workers = f"host.workers={best['replica']['workers']}"
    alone = printed(
        capsys,
        *("report", "letter@150", workers, "--device", best["device"], "--output-tokens", "300"),
        *("--price", "0.9", "--price", "H100-SXM=2.5", "--price", "T4=0.2", "--json"),
    )["sections"]
    told, *own = sections["overview"]["texts"]
    assert told.startswith(f"From here on: one {best['device']} by itself that is always full")
    assert own == alone["overview"]["texts"]
    for name in ("devices", "modes", "pages", "stages", "modules", "roofline", "memory"):
        assert sections[name] == alone[name], name


def test_a_plan_may_be_written_as_a_report_at_once(capsys: Capture, plan: dict[str, Any]) -> None:
    """The same but for what only a saved one says."""
    assert main(["plan", *ASKED, *MORE, *SAYS, "-o", "plan.json"]) == 0
    assert "the plan as a report" in capsys.readouterr().out
    written, again = json.loads(Path("plan.json").read_text()), printed(capsys, "report", "plan.yaml", "--json")
    kept = again["sections"]["plan"]["check"]["items"]
    assert [item["label"] for item in kept].count("kept") == 1
    for document in (written, again):
        of = document["sections"]["plan"]["check"]["items"]
        document["sections"]["plan"]["check"] = [item["value"] for item in of if item["label"] != "kept"]
    assert written == again


def test_a_saved_plan_that_moved_says_so(capsys: Capture, plan: dict[str, Any]) -> None:
    saved = yaml.safe_load(Path("plan.yaml").read_text())
    saved["result"]["rows"][0]["gpus"] += 1
    Path("plan.yaml").write_text(yaml.safe_dump(saved))
    document = printed(capsys, "report", "plan.yaml", "--json")
    assert items(document["sections"]["plan"]["check"])["kept"].startswith("1 figure differs from plan.yaml, of ")


def test_a_plan_that_nothing_can_meet(capsys: Capture) -> None:
    """Exit status 1; what comes nearest, the limit to relax, and the pages by that way."""
    options = {"pages": "5/second", "max-latency": "300ms", "device": ["L4", "H100-SXM"], "output-tokens": 600}
    Path("hard.yaml").write_text(yaml.safe_dump({"kind": "plan", "inputs": ["letter@150"], "options": options}))
    sections = printed(capsys, "report", "hard.yaml", "--json", status=1)["sections"]
    first = sections["plan"]
    assert first["texts"][0].startswith(
        "Nothing holds the limits; nearest: deepseek_ocr (gundam) by vllm on H100-SXM: "
    )
    assert "ways" not in first and "best" not in first
    assert [row["verdict"] for row in first["verdicts"]["rows"]] == ["too slow", "too slow"]
    assert "--max-latency" in first["verdicts"]["rows"][0]["change"]
    assert items(sections["overview"]["setup"])["device"] == "H100-SXM"


def test_nothing_of_this_machine_is_in_it(capsys: Capture, tmp_path: Path) -> None:
    """Pages and prices by their names alone, in the line that simulates it too."""
    (tmp_path / "private").mkdir()
    sizes, prices = tmp_path / "private" / "sizes.csv", tmp_path / "private" / "prices.yaml"
    sizes.write_text("width,height,steps\n1275,1650,500\n600,220,100\n")
    prices.write_text("currency: EUR\nper: hour\ndate: 2026-11-20\nsource: ours\nprices: {L40S: 0.9}\n")
    asked = ("--pages", "1/second", "--requests", "100", "--output-tokens", "steps", "--prices", str(prices))
    assert main(["plan", str(sizes), *asked, "-o", "plan.html"]) == 0
    text = Path("plan.html").read_text()
    assert str(tmp_path) not in text and "private/sizes.csv" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plan.yaml", "workload=base"), "plan.yaml is a plan, which says its pages, devices and settings itself"),
        (("A4", "plan.yaml"), "leave A4 out"),
        (("plan.yaml", "--device", "L4"), "leave --device out"),
        (("plan.yaml", "--price", "2"), "leave --price out"),
        (
            ("page.yaml",),
            "page.yaml is a scenario of page, and a report opens with a plan alone",
        ),
        (("plan.yaml", "-o", "plan.yaml"), "the name plan.yaml does not say the format"),
        (("none.yaml",), "none.yaml"),
    ],
)
def test_what_is_refused(capsys: Capture, arguments: tuple[str, ...], said: str) -> None:
    Path("plan.yaml").write_text("kind: plan\ninputs: [letter@150]\noptions: {pages: 1/second}\n")
    Path("page.yaml").write_text("kind: page\ninputs: [letter@150]\n")
    assert main(["report", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_plans_file_says_what_it_is(capsys: Capture) -> None:
    assert main(["plan", *ASKED, *SAYS, "--device", "L40S", "-o", "plan.txt"]) == 2
    assert "the name plan.txt does not say the format; end it in one of .yaml, .yml, .html" in capsys.readouterr().err
