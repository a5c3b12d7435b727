"""Requests with several pages, and prefills over a cache, are those that the real modules were measured to run."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from modelmeter.cli.main import main
from tests.measured.account import compared, flat
from tests.measured.recorded import recorded
from tests.measured.series import requests
from tests.models.lighton_ocr.small import OVERRIDES as LIGHTON_SMALL


def wrong(name: str) -> list[str]:
    """What of a case's stages is not what was measured."""
    ours, theirs = requests.walked(requests.CASES[name]), recorded("requests", name)
    told = [] if list(ours) == list(theirs) else [f"stages {list(ours)}, measured {list(theirs)}"]
    for stage in ours.keys() & theirs.keys():
        analytic, measured = flat(ours[stage]), flat(compared(theirs[stage]))
        told += [
            f"{stage}: {figure}: {analytic.get(figure)}, measured {measured.get(figure)}"
            for figure in sorted(analytic | measured)
            if analytic.get(figure) != measured.get(figure)
        ]
    return told


@pytest.mark.parametrize("name", requests.CASES)
def test_a_request_is_what_the_modules_do(name: str) -> None:
    assert wrong(name) == []


@pytest.mark.parametrize("cached", [0, 16])
def test_the_programs_verify_requests(
    cached: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("runtime.pages_per_request=2", "runtime.system_prompt_tokens=20", "sizes=[[300,400]]", *LIGHTON_SMALL)

    def verified(program: str, *arguments: str) -> dict[str, Any]:
        monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # as in a new process
        assert main(["verify", program, "--model", "lighton_ocr", "--json", *asked, *arguments]) == 0
        result: dict[str, Any] = json.loads(capsys.readouterr().out)["result"]
        assert result["worst_difference"] == 0
        return result

    (page,) = verified("end2end", "output_tokens=1", f"cached={cached}")["pages"]
    tokens = page["tokens"]["total"]
    assert page["seq_len"] == 2 * tokens + 20 + 10
    stages = page["stages"]
    each = int(stages["decode"]["kv_added_bytes"]["measured"])
    assert int(stages["prefill"]["kv_added_bytes"]["measured"]) == (page["seq_len"] - cached) * each
    if not cached:
        verified("vision")
