"""`modelmeter verify`: which program runs, with what, and what becomes of its result."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from hydra.core.hydra_config import HydraConfig

from modelmeter.cli import verify
from modelmeter.cli.main import main

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]
MODEL = "model=deepseek_ocr"


class Program(ModuleType):
    """A verification program that notes its command line, prints, and writes a result."""

    def __init__(self, name: str, result_name: str) -> None:
        super().__init__(name)
        self.result_name = result_name
        self.__spec__ = ModuleSpec(name, None)
        self.seen: list[str] = []
        self.status: object = 0
        self.result: str | None = json.dumps({"pages": [], "worst_difference": str(2**60)})

    def main(self) -> None:
        self.seen = sys.argv[1:]
        print("a table")
        for argument in self.seen:
            key, _, folder = argument.partition("=")
            if key == "hydra.run.dir" and self.result is not None:
                Path(folder).mkdir(exist_ok=True)
                (Path(folder) / self.result_name).write_text(self.result)
        if self.status is not None:
            raise SystemExit(self.status)


@pytest.fixture(params=verify.PROGRAMS)
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Program]]:
    name, result_name = verify.PROGRAMS[request.param]
    module = Program(name, result_name)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield request.param, module


def test_the_program_gets_its_arguments(program: tuple[str, Program], capsys: Capture) -> None:
    name, module = program
    before = list(sys.argv)
    assert main(["verify", name, "sizes=[[640,480]]", "--multirun", "workload=base"]) == 0
    assert module.seen == [MODEL, "sizes=[[640,480]]", "--multirun", "workload=base"]
    assert capsys.readouterr() == ("a table\n", "")
    assert sys.argv == before


@pytest.mark.parametrize("status, expected", [(None, 0), (0, 0), (1, 1), (2, 2), ("text", 1)])
def test_the_programs_exit_status(program: tuple[str, Program], status: object, expected: int) -> None:
    name, module = program
    module.status = status
    assert main(["verify", name]) == expected


@pytest.mark.parametrize("status", [0, 1])
def test_json(program: tuple[str, Program], status: int, capsys: Capture) -> None:
    name, module = program
    module.status = status
    assert main(["verify", name, "--json", "workload=base"]) == status
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "schema_version": 1,
        "command": "verify",
        "model": "deepseek_ocr",
        "program": name,
        "exit_status": status,
        "result": {"pages": [], "worst_difference": str(2**60)},
    }
    assert captured.err == "a table\n"
    assert module.seen[:2] == [MODEL, "workload=base"]
    assert not Path(module.seen[2].partition("=")[2]).exists()


def test_json_leaves_a_run_directory_that_was_given(
    program: tuple[str, Program], tmp_path: Path, capsys: Capture
) -> None:
    name, module = program
    assert main(["verify", name, "--json", f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    assert module.seen == [MODEL, f"hydra.run.dir={tmp_path / 'run'}"]
    assert (tmp_path / "run" / module.result_name).exists()
    assert json.loads(capsys.readouterr().out)["exit_status"] == 0


@pytest.mark.parametrize("status, result", [(2, "{}"), (1, None), (0, None)])
def test_json_prints_nothing_without_a_result(
    program: tuple[str, Program], status: int, result: str | None, capsys: Capture
) -> None:
    name, module = program
    module.status, module.result = status, result
    assert main(["verify", name, "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (f"--json shows the {module.result_name} of one run, and there is none" in captured.err) == (result is None)


def test_json_never_shows_an_earlier_result(program: tuple[str, Program], tmp_path: Path, capsys: Capture) -> None:
    name, module = program
    module.result = None
    (tmp_path / module.result_name).write_text("{}")
    assert main(["verify", name, "--json", f"hydra.run.dir={tmp_path}"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("package", verify.NEEDED)
def test_what_is_missing_is_named_and_how_to_get_it(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["verify", "vision", "sizes=[[640,480]]"]) == 2
    assert capsys.readouterr() == (
        "",
        f"error: verify runs the real modules and needs {package}; pip install {package}.\n",
    )


def test_the_programs_name(capsys: Capture) -> None:
    assert main(["verify", "visio"]) == 2
    assert "'visio' is not one of 'vision', 'end2end', 'layers'" in capsys.readouterr().err
    assert main(["verify"]) == 2
    assert "Choose from: vision, end2end, layers" in capsys.readouterr().err.replace("\n", " ")


def test_a_real_page_agrees(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelmeter", "verify", "vision", "sizes=[[640,480]]", "workload=tiny", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["exit_status"], document["result"]["worst_difference"]) == (0, 0)
    assert [module["difference"] for module in document["result"]["pages"][0]["modules"]] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, arguments, results",
    [
        ("layers", ["layers=[Gelu],[Blok]"], ["0/verify_layers.json"]),
        ("vision", ["sizes=[[9,9]]", "tolerance=-1,0", "workload=tiny"], ["1/verify.json"]),
        ("end2end", ["sizes=[[9,9]]", "tolerance=-1,-2"], []),
    ],
)
def test_multirun_leaves_a_result_for_each_job(
    name: str, arguments: list[str], results: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # as in a new process
    assert main(["verify", name, *arguments, "--multirun"]) == 2  # the worst of both
    (sweep,) = tmp_path.glob("multirun/verify_*/*")
    assert {job.name for job in sweep.iterdir() if job.is_dir()} == {"0", "1"}
    assert [str(path.relative_to(sweep)) for path in sweep.rglob("verify*.json")] == results
