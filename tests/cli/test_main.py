"""How the command starts, ends, and tells what is wrong."""

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from modelmeter.cli.app import COMMANDS, GROUPS, app
from modelmeter.cli.main import main

ROOT = Path(__file__).parents[2]
HEAVY = ("PIL", "hydra", "numpy", "omegaconf", "pypdfium2", "rich", "torch", "transformers")


def run(*arguments: str, **keywords: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelmeter", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **keywords)  # type: ignore[call-overload]


def imported_by(code: str) -> set[str]:
    """Modules that `code` imports, beside those of a bare interpreter."""
    code = f"import sys; before = set(sys.modules)\n{code}\nprint('imported', *set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_import_modelmeter_imports_nothing_else() -> None:
    assert imported_by("import modelmeter") == {"modelmeter"}


@pytest.mark.parametrize("module", ["modelmeter.cli.main", *COMMANDS.values()])
def test_a_command_is_light_until_it_is_called(module: str) -> None:
    imported = imported_by(f"import {module}")
    assert not imported & set(HEAVY)
    assert not any(name.startswith("modelmeter.models.") for name in imported)


def test_a_signal_finds_main_at_work_early() -> None:
    """Before `main` catches it, next to nothing of ours is imported."""
    ours = {"modelmeter", "modelmeter.cli", "modelmeter.cli.main"}
    assert imported_by("import modelmeter.cli.main") == {*ours, "__future__"}


def test_page_imports_what_it_needs_only() -> None:
    imported = imported_by("from modelmeter.cli.main import main; main(['page', '1275x1650'])")
    assert not imported & {
        "PIL",
        "hydra",
        "omegaconf",
        "numpy",
        "pypdfium2",
        "torch",
        "transformers",
        "typer",
        "pydantic",
    }
    imported = imported_by("from modelmeter.cli.main import main; main(['page', '1275x1650', '--json'])")
    assert "rich" not in imported


def test_help_imports_no_model() -> None:
    imported = imported_by("from modelmeter.cli.main import main; main(['--help'])")
    assert not imported & set(HEAVY)


def test_the_entry_point_is_main() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["modelmeter"].partition(":")
    assert getattr(import_module(module), function) is main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"Usage: modelmeter {name}" in capsys.readouterr().out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    listed = {title: out.split(f"{title}:\n")[1].split("\n\n")[0].splitlines() for title in GROUPS}
    assert {title: [line.split()[0] for line in lines] for title, lines in listed.items()} == {
        title: list(names) for title, names in GROUPS.items()
    }
    assert all(len(line) <= 80 and "..." not in line for lines in listed.values() for line in lines)
    assert main([]) == 0
    assert capsys.readouterr().out == out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("modelmeter 0.")


BAD_COMMAND_LINES = {
    "page_for_a_command": (("5x5",), 'error: there is no command 5x5; did you mean "modelmeter page 5x5"? (model'),
    "folder_for_a_command": (("tests",), 'error: there is no command tests; did you mean "modelmeter corpus tests"?'),
    "key_as_an_option": (
        ("page", "5x5", "--dtype", "float16"),
        'error: there is no option --dtype; did you mean "runtime.dtype=float16"? (modelmeter page --help)',
    ),
    "group_as_an_option": (
        ("page", "--mode=tiny", "5x5"),
        'error: there is no option --mode; did you mean "workload=tiny"? (modelmeter page --help)',
    ),
    "misspelt_command": (("pgae",), 'error: there is no command pgae; did you mean "page"? (modelmeter --help)'),
    "misspelt_option": (("modes", "--jso", "5x5"), "error: No such option '--jso'. Did you mean '--json'? "),
    "option_without_value": (("page", "5x5", "--dpi"), "error: Option '--dpi' requires an argument. "),
    "no_number": (("page", "5x5", "--output-tokens", "x"), "error: Invalid value for '--output-tokens': 'x' is not"),
    "negative": (("page", "5x5", "--output-tokens", "-1"), "error: Invalid value for '--output-tokens': -1 is not"),
    "no_resolution": (("page", "5x5", "--dpi", "0"), "error: Invalid value for '--dpi': 0 is not in the range"),
    "unknown_model": (("page", "5x5", "--model", "x"), "error: model x does not exist; the options are deepseek_ocr, "),
}


@pytest.mark.parametrize("arguments, text", BAD_COMMAND_LINES.values(), ids=BAD_COMMAND_LINES)
def test_bad_command_lines(arguments: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(text)
    assert captured.err.count("\n") == 1


def test_an_error_of_our_own_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a\nb")

    monkeypatch.setattr("modelmeter.cli.page.model_package", broken)
    assert main(["page", "5x5"]) == 3
    assert capsys.readouterr() == (
        "",
        "error: ModelMeter itself failed (KeyError: 'a\\nb'); run it again with --debug, and report that.\n",
    )
    assert main(["page", "5x5", "--debug"]) == 3
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_tracebacks_with_debug_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "5x5", "workload=gundem"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    for arguments in (["page", "5x5", "workload=gundem", "--debug"], ["--debug", "page", "5x5", "workload=gundem"]):
        assert main(arguments) == 2
        assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("modelmeter.cli.page.model_package", interrupted)
    assert main(["page", "5x5"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("-u",)])
@pytest.mark.parametrize("module", ["modelmeter", "modelmeter.programs.sweep.modes"])
def test_a_broken_pipe_ends_quietly(module: str, options: tuple[str, ...], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ["--help"] if module == "modelmeter" else ["figures=false", f"hydra.run.dir={tmp_path}"]
    command = [sys.executable, *options, "-m", module, *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 141


REFUSALS = {
    "many_pages": (["page", *"abcdefg"], 3, "error: and 5 more.\n"),
    "long_page": (["page", "n" * 100_000], 1, "check the path"),
    "long_option": (["page", "5x5", "--" + "n" * 100_000], 1, "(modelmeter page --help)\n"),
    "long_value": (["page", "5x5", "--dpi", "n" * 100_000], 1, "(modelmeter page --help)\n"),
    "long_command": (["n" * 100_000], 1, "(modelmeter --help)\n"),
    "long_name": (["corpus", "n" * 256], 1, "does not exist"),
    "long_output": (["report", "5x5", "-o", "n" * 300 + ".json"], 1, "cannot be written (File name too long)"),
    "nul": (["page", "a\0b"], 1, "argument a\\x00b holds a NUL character"),
    "nul_in_an_option": (["report", "5x5", "-o", "\0.html"], 1, "argument \\x00.html holds a NUL character"),
    "lone_surrogate": (["page", "\ud800"], 1, "argument \\ud800 is no text"),
    "signs": (["page", "5x5", "--output-tokens=--5"], 1, "'--5' is not a valid integer"),
}


@pytest.mark.parametrize("arguments, lines, text", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_short(arguments: list[str], lines: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", lines)
    assert len(err) <= 1000 and text in err


def test_a_working_directory_that_is_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for arguments in (["page", "5x5"], ["corpus", "a.png"], ["report", "5x5", "-o", "r.json"]):
        assert main(arguments) == 2
        message = (
            "error: the working directory cannot be told (No such file or directory); change to one that exists.\n"
        )
        assert capsys.readouterr() == ("", message)


def test_memory_that_is_used_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def too_much(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("modelmeter.cli.page.model_package", too_much)
    assert main(["page", "5x5"]) == 2
    assert capsys.readouterr() == (
        "",
        "error: the memory that this process may have is used up; give it more, or fewer pages at a time.\n",
    )


def test_shell_completion() -> None:
    def complete(*words: str) -> list[str]:
        completion = {"_MODELMETER_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words)}
        done = run(env={**os.environ, **completion, "COMP_CWORD": str(len(words) - 1)})
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert complete("modelmeter", "pa") == ["plain,page"]
    assert complete("modelmeter", "page", "--js") == ["plain,--json"]
    assert complete("modelmeter", "page", "le") == ["file,le"]
    assert complete("modelmeter", "page", "--model", "unl") == ["plain,unlimited_ocr"]
    assert complete("modelmeter", "page", "--model", "./") == ["dir,./"]
    assert complete("modelmeter", "verify", "end") == ["plain,end2end"]
    assert complete("modelmeter", "throughput", "--device", "h100") == ["plain,H100-PCIe", "plain,H100-SXM"]
    assert complete("modelmeter", "report", "--device", "mine") == ["file,mine"]


def test_the_command_as_a_process() -> None:
    done = run("page", "1275x1650", "workload=gundam")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1275x1650: 1275 x 1650 pixels\n")
    assert run("page", "0x5").returncode == 2


def test_the_group_is_what_the_table_says() -> None:
    import click

    context = click.Context(app)
    assert all(app.get_command(context, name) is not None for name in app.list_commands(context))
    assert app.get_command(context, "none") is None
