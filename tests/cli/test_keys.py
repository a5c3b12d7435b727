"""`modelmeter keys`, and the completion of keys and values in a shell."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from click.shell_completion import BashComplete, ZshComplete

from modelmeter.cli.app import app
from modelmeter.cli.main import main
from modelmeter.kinds import Said
from modelmeter.models import MODELS, model_package
from tests.cli.test_main import HEAVY, imported_by

Capture = pytest.CaptureFixture[str]


def keys(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    assert main(["keys", *arguments, "--json"]) == 0
    listed: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["keys"]
    return listed


@pytest.mark.parametrize("model", MODELS)
def test_every_key_of_the_schema_is_listed_with_its_default(model: str, capsys: Capture) -> None:
    configuration = model_package(model).CONFIGURATION
    flat: dict[str, object] = {}

    def walk(path: str, node: dict[str, Any]) -> None:
        for name, value in node.items():
            if isinstance(value, dict):
                walk(f"{path}{name}.", value)
            else:
                flat[f"{path}{name}"] = value

    walk("", asdict(configuration.compose([])))
    listed = {each["key"]: each for each in keys(capsys, "--model", model)}
    chosen_by_name = {
        "execution.name",
        "engine.name",
        "client.name",
        "precision.name",
        *(key for key in flat if "checkpoint." in key),
    }
    if len(model_package(model).EXECUTIONS) == 1:
        chosen_by_name.remove("execution.name")
    assert {key for key, each in listed.items() if not each["is_group"]} == set(flat) - chosen_by_name
    # what is listed is an override, and changes nothing
    given = [
        f"{key}={each['default']}" for key, each in listed.items() if key.split(".")[0] not in ("execution", "engine")
    ]
    assert asdict(configuration.compose(given)) == asdict(configuration.compose([]))


@pytest.mark.parametrize("model", MODELS)
def test_every_key_has_its_line(model: str) -> None:
    for key, kind in model_package(model).CONFIGURATION.keys.items():
        assert isinstance(kind, Said), key
        assert 10 < len(kind.about) < 110 and not kind.about.endswith("."), key


def test_types_and_choices(capsys: Capture) -> None:
    listed = {each["key"]: each for each in keys(capsys)}
    assert listed["workload"]["choices"] == ["tiny", "small", "base", "large", "gundam", "gundam_m"]
    assert (listed["workload"]["default"], listed["engine"]["default"]) == ("gundam", "transformers")
    types = {
        "runtime.dtype": "bfloat16|float16|float32",
        "runtime.batch_size": "integer",
        "runtime.experts_hit": "max|uniform|integer|null",
        "runtime.prompt": "text|null",
        "workload.crop_mode": "true|false",
        "vision.sam.global_attn_indexes": "list of integers",
        "host.spread": "number",
    }
    assert {key: listed[key]["type"] for key in types} == types
    assert listed["vision.sam.global_attn_indexes"]["default"] == "[2,5,8,11]"


def test_a_pattern_is_a_part_of_a_key(capsys: Capture) -> None:
    assert [each["key"] for each in keys(capsys, "DTYPE", "crop_")] == ["workload.crop_mode", "runtime.dtype"]
    assert main(["keys", "dtyp1"]) == 2
    assert 'keys: no key of deepseek_ocr has dtyp1 in it; did you mean "dtype"?' in capsys.readouterr().err
    assert main(["keys", "model=glm_ocr"]) == 2
    assert "did you mean --model glm_ocr?" in capsys.readouterr().err


def test_the_list_on_a_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["keys"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("workload=gundam ")
    assert any(line.startswith("runtime.batch_size=1  ") and "integer: pages of equal size" in line for line in lines)


# -- completion ------------------------------------------------------------------------------------------------------


def completed(*arguments: str, shell: type[ZshComplete] | type[BashComplete] = ZshComplete) -> list[str]:
    *before, incomplete = arguments
    items = shell(app, {}, "modelmeter", "_MODELMETER_COMPLETE").get_completions(before, incomplete)
    return [item.value for item in items if item.type == "plain"]


COMPLETED = {
    "group": (
        ["page", "5x5", "workl"],
        {"workload=", "workload.base_size=", "workload.image_size="},
        {"runtime.head="},
    ),
    "key": (["page", "5x5", "runtime.d"], {"runtime.dtype="}, {"runtime.head="}),
    "mode": (["page", "workload="], {"workload=tiny", "workload=gundam_m"}, set()),
    "value": (["modes", "5x5", "runtime.dtype=bf"], {"runtime.dtype=bfloat16"}, {"runtime.dtype=float16"}),
    "flag": (["corpus", "workload.crop_mode="], {"workload.crop_mode=true", "workload.crop_mode=false"}, set()),
    "engine": (["throughput", "5x5", "engine=v"], {"engine=vllm"}, {"engine=best"}),
    "of_a_model": (
        ["page", "--model", "lighton_ocr", "workload.l"],
        {"workload.longest_edge="},
        {"workload.base_size="},
    ),
    "of_a_model_by_override": (["page", "model=lighton_ocr", "workload="], {"workload=squares"}, {"workload=base"}),
    "device": (["throughput", "--device", "h100"], {"H100-SXM", "H100-PCIe"}, {"H200"}),
    "listed_device": (["devices", "rtx-50"], {"RTX-5080", "RTX-5090"}, {"RTX-4090"}),
    "model": (["page", "--model", "olm"], {"olmocr_2_7b"}, {"deepseek_ocr"}),
    "sort": (["devices", "--sort", ""], {"memory", "bandwidth"}, set()),
    "command": (["ke"], {"keys"}, {"page"}),
}


@pytest.mark.parametrize("arguments, there, missing", COMPLETED.values(), ids=COMPLETED)
def test_words_are_completed(arguments: list[str], there: set[str], missing: set[str]) -> None:
    found = set(completed(*arguments))
    assert there <= found
    assert not missing & found


def test_bash_has_the_equals_sign_apart() -> None:
    assert completed("page", "5x5", "workload", "=", shell=BashComplete)[:2] == ["tiny", "small"]
    assert completed("page", "5x5", "workload", "=", "gu", shell=BashComplete) == ["gundam", "gundam_m"]
    assert completed("page", "runtime.dtype", "=", "b", shell=BashComplete) == ["bfloat16"]


def test_files_are_completed_too() -> None:
    items = ZshComplete(app, {}, "modelmeter", "_MODELMETER_COMPLETE").get_completions(["page"], "scan")
    assert [(item.value, item.type) for item in items] == [("scan", "file")]


def test_completion_is_light() -> None:
    code = (
        "from click.shell_completion import ZshComplete\n"
        "from modelmeter.cli.app import app\n"
        "ZshComplete(app, {}, 'm', 'X').get_completions(['page'], 'workload=')"
    )
    assert not imported_by(code) & set(HEAVY)
