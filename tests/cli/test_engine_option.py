"""--engine of the commands about pages is engine=NAME."""

import json
from typing import Any

import pytest

from modelmeter.cli.main import main

Capture = pytest.CaptureFixture[str]

COMMANDS = {
    "page": ["page", "640x480"],
    "modes": ["modes", "640x480"],
    "throughput": ["throughput", "640x480", "--output-tokens", "5", "--device", "L4"],
    "report": ["report", "640x480"],
}


def result(capsys: Capture, *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_the_option_is_the_override(arguments: list[str], capsys: Capture) -> None:
    chosen = result(capsys, *arguments, "--engine", "sglang")
    assert chosen == result(capsys, *arguments, "engine=sglang")
    assert chosen != result(capsys, *arguments, "engine=vllm")


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_two_engines_are_refused(arguments: list[str], capsys: Capture) -> None:
    assert main([*arguments, "--engine", "vllm", "engine=best"]) == 2
    said = f"error: {arguments[0]}: --engine vllm and engine=best both name the engine; leave one out.\n"
    assert capsys.readouterr() == ("", said)
