"""The programs' command line, and how a program ends, wherever Hydra's launcher runs its jobs."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest

from modelmeter.models.deepseek_ocr.scripts.verify import (
    run_verify_end2end,
    run_verify_end2end_vision,
    run_verify_published,
)
from modelmeter.process import READER_GONE
from modelmeter.programs.hydra_program import AGREES, DISAGREES, FAILED, UNUSABLE, run
from modelmeter.programs.sweep import batches, grids, modes
from modelmeter.programs.verify import layers
from tests.models.deepseek_ocr.published_config import UNLIMITED_OCR, with_decoder
from tests.programs.results import RunMain, job_folders

Job = Callable[[object], None]
SWEEP = ("batch_sizes=[1]", "figures=false")
PUBLISHED = run_verify_published


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.parametrize("statuses", [(0, 0), (0, DISAGREES), (UNUSABLE, 0, DISAGREES)])
def test_the_worst_status_of_jobs_in_other_processes(
    statuses: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(**_: object) -> Callable[[Job], Callable[[], None]]:
        """As hydra.main under the joblib launcher: every job in a process of its own."""

        def decorated(job: Job) -> Callable[[], None]:
            def launched() -> None:
                jobs = [multiprocessing.get_context("fork").Process(target=job, args=(each,)) for each in statuses]
                for each in jobs:
                    each.start()
                for each in jobs:
                    each.join()

            return launched

        return decorated

    monkeypatch.setattr(hydra, "main", main)
    monkeypatch.setattr(sys, "argv", ["program"])
    if not any(statuses):
        run("deepseek_ocr", {}, lambda _, status: int(str(status)))
        return
    with pytest.raises(SystemExit) as ended:
        run("deepseek_ocr", {}, lambda _, status: int(str(status)))
    assert ended.value.code == max(statuses)


def run_without_jobs(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """The program under a launcher whose jobs leave nothing here."""
    monkeypatch.setattr(hydra, "main", lambda **_: lambda job: lambda: None)
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    run("deepseek_ocr", {}, lambda _, status: 0)


def test_jobs_that_do_not_tell_how_they_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_without_jobs(monkeypatch, "--multirun", "workload=base,tiny")
    assert ended.value.code == UNUSABLE
    assert "no job told how it ended" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--help", "--hydra-help", "--cfg=job"])
def test_where_no_job_runs_none_has_to_tell(monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    run_without_jobs(monkeypatch, flag)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "arguments, text",
    [
        ("--cfg job", "\nbatch_sizes:\n- 1\n"),
        ("-c job", "\nbatch_sizes:\n- 1\n"),
        ("--cfg=hydra", "multirun/${hydra.job.config_name}/"),
        ("--cfg all", "\nbatch_sizes:\n- 1\n"),
        ("--cfg job --resolve", "\nbatch_sizes:\n- 1\n"),
        ("--cfg job --package workload", "# @package workload\nbase_size: 1024\n"),
        ("workload=base --cfg job workload.max_num=3", "max_num: 3"),
        ("--info", "Config search path"),
        ("--info defaults", "workload/gundam"),
        ("--help", "workload: base, gundam"),
        ("-sc install=bash", "complete"),
    ],
)
def test_what_hydra_tells(arguments: str, text: str, tmp_path: Path, run_main: RunMain) -> None:
    done = run_main(batches.main, *SWEEP, *arguments.split())
    assert (done.status, done.stderr) == (AGREES, "")
    assert text in done.stdout
    assert files_in(tmp_path) == []


def test_a_checkpoint_of_ones_own(tmp_path: Path, run_main: RunMain) -> None:
    folder = tmp_path / "a ${x} b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(with_decoder(UNLIMITED_OCR, "num_hidden_layers", 7)))
    (folder / "preprocessor_config.json").write_text(json.dumps({"max_patches": 5}))
    told = run_main(batches.main, *SWEEP, f"model={folder}", "--cfg", "job", "--resolve").stdout
    assert "num_hidden_layers: 7\n" in told and "max_patches: 5\n" in told and "name: a ${x} b\n" in told
    told = run_main(batches.main, *SWEEP, f"checkpoint={folder}", "workload=whole", "--cfg", "job").stdout
    assert "num_hidden_layers: 7\n" in told and "max_patches: 32\n" in told
    told = run_main(batches.main, *SWEEP, f"model={folder}", "decoder.num_hidden_layers=3", "--cfg", "job").stdout
    assert "num_hidden_layers: 3\n" in told


@pytest.mark.parametrize("argument, text", [("--hydra-help", "Hydra ("), ("--version", "Hydra 1.")])
def test_what_hydra_tells_of_itself(argument: str, text: str, run_main: RunMain) -> None:
    done = run_main(batches.main, argument)
    assert (done.status, done.stderr) == (AGREES, "")
    assert done.stdout.startswith(text)


REFUSALS = [
    ("--cfg nope", "invalid choice: 'nope'"),
    ("--nope", "unrecognized arguments: --nope; --hydra-help lists the options."),
    ("--resolve", "--resolve goes with --cfg or --help alone"),
    ("-m --cfg job", "--multirun and --cfg do not go together"),
    ("-sc", "--shell-completion goes with install=SHELL"),
    ("-sc install=nope", "No completion plugin for 'nope'"),
    ("--config-dir nowhere", "not found"),
    ("--config-name x", "--config-name is not taken"),
    ("--config-path x", "--config-path is not taken"),
    ("--experimental-rerun x.pickle", "a pickle can run any code"),
    ("workload=gundem", 'workload=gundem: there is no such workload; did you mean "gundam"'),
    ("-m workload=gundem,base", 'workload=gundem: there is no such workload; did you mean "gundam"'),
    ("workload=base,tiny", "To sweep over it, add --multirun"),
    ("workload=base,", 'override "workload=base," cannot be read'),
    ("hydra/launcher=nope -m", "hydra/launcher=nope: there is no such hydra/launcher"),
    ("hydra.nope=1", "Could not override 'hydra.nope'"),
    ("+nope=1", "the configuration is closed"),
    ("output_tokens=${nope}", "nterpolation"),
    ("hydra.run.dir=/dev/null/x", "/dev/null/x cannot be used"),
]


@pytest.mark.parametrize("arguments, text", REFUSALS)
def test_a_refusal_is_one_line(arguments: str, text: str, tmp_path: Path, run_main: RunMain) -> None:
    done = run_main(batches.main, *SWEEP, *arguments.split())
    assert done.status == UNUSABLE
    assert text in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and len(done.stderr) <= 1000
    assert not list(tmp_path.rglob("batches.*"))


def test_a_file_of_ones_own(tmp_path: Path, run_main: RunMain) -> None:
    (tmp_path / "conf/workload").mkdir(parents=True)
    (tmp_path / "conf/workload/mine.yaml").write_text("base_size: 640\ncrop_mode: false\n")
    done = run_main(batches.main, *SWEEP, "-m", "-cd", "conf", "workload=mine,small")
    assert done.status == AGREES, done.stderr
    mine, small = (json.loads((job / "batches.json").read_text()) for job in job_folders(tmp_path, "sweep_batches"))
    assert mine["rows"] == small["rows"]
    done = run_main(batches.main, *SWEEP, "-cd", "conf", "workload=min")
    assert (done.status, done.stderr) == (
        UNUSABLE,
        'error: workload=min: there is no such workload; did you mean "mine"?\n',
    )
    done = run_main(batches.main, *SWEEP, "-cd", "conf", "workload=mine", "workload.max_num=3")
    assert (done.status, done.stderr.count("\n")) == (UNUSABLE, 1)
    assert "a file of your own must state what is overridden: add the key there" in done.stderr


@pytest.mark.parametrize(
    "content, text",
    [
        (b"{", "mine.yaml"),
        (b"\xff\xfe", "can't decode"),
        (b"12", "Invalid loaded object type"),
        (b"- 1\n", "workload"),
        (b"a: 1\na: 2\n", "duplicate key a"),
        (b"base_size: abc\n", "workload.base_size"),
        (b"sides: 640\n", "sides"),
        (b"defaults: 3\n", "defaults must be a list"),
        (b"base_size: !!python/object/apply:os.mkdir [made]\n", "could not determine a constructor"),
        (b"[" * 3000, "recursion"),
    ],
)
def test_a_bad_file_of_ones_own(content: bytes, text: str, tmp_path: Path, run_main: RunMain) -> None:
    (tmp_path / "conf/workload").mkdir(parents=True)
    (tmp_path / "conf/workload/mine.yaml").write_bytes(content)
    done = run_main(batches.main, *SWEEP, "-cd", "conf", "workload=mine")
    assert done.status == UNUSABLE
    assert text in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "made").exists()


def published() -> None:
    run("verify_published", PUBLISHED.OWN_KEYS, PUBLISHED.verify)


MULTIRUNS: dict[str, tuple[Callable[[], None], str, str, list[int]]] = {
    # main, arguments, result, which jobs leave one
    "verify_end2end_vision": (
        run_verify_end2end_vision.main,
        "sizes=[[9,9]] workload=tiny tolerance=0,-1",
        "verify.json",
        [0],
    ),
    "verify_end2end": (run_verify_end2end.main, "sizes=[[9,9]],[] output_tokens=0 workload=tiny", "verify.json", [0]),
    "verify_layers": (layers.main, "layers=[Blok],[Gelu]", "verify_layers.json", [1]),
    "verify_published": (published, "tokens=1,2", "verify.json", []),
}


@pytest.mark.parametrize("name", MULTIRUNS)
def test_multirun_of_verification(name: str, tmp_path: Path, run_main: RunMain) -> None:
    main, arguments, result, expected = MULTIRUNS[name]
    done = run_main(main, *arguments.split(), "--multirun")
    assert done.status == UNUSABLE, done.stderr  # the worst of both
    jobs = job_folders(tmp_path, name)
    assert [job.name for job in jobs] == ["0", "1"]
    assert [number for number, job in enumerate(jobs) if (job / result).exists()] == expected
    assert not (tmp_path / "outputs").exists()


def test_no_two_runs_share_a_folder(tmp_path: Path, run_main: RunMain) -> None:
    for mode in ("--run", "--multirun"):
        for _ in range(2):
            assert run_main(batches.main, *SWEEP, mode).status == AGREES
    microseconds = "*-" + "[0-9]" * 6  # one second is enough for two runs
    assert len(list(tmp_path.glob(f"outputs/sweep_batches/{microseconds}/batches.json"))) == 2
    assert len(list(tmp_path.glob(f"multirun/sweep_batches/{microseconds}/0/batches.json"))) == 2


def test_an_error_of_our_own_stops_no_other_job(run_main: RunMain) -> None:
    seen = []

    def work(_: object, config: Any) -> int:
        seen.append(config.workload.base_size)
        return 1 // (config.workload.base_size != 512)

    done = run_main(lambda: run("deepseek_ocr", {}, work), "-m", "workload=tiny,small")
    assert (done.status, seen) == (FAILED, [512, 640])
    assert "ZeroDivisionError" in done.stderr


def test_what_surrounds_a_run_is_as_it_was(run_main: RunMain) -> None:
    before = dict(os.environ)
    run_main(batches.main, *SWEEP, "--cfg", "job", "workload=base")
    assert sys.argv == ["program", *SWEEP, "--cfg", "job", "workload=base"]
    assert dict(os.environ) == before


def started(folder: Path, *arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", batches.__name__, *arguments]
    return subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True, check=False, **streams)


@pytest.mark.parametrize("sizes, status, expected", [("[1],[2]", AGREES, [0, 1]), ("[0],[1]", UNUSABLE, [1])])
def test_the_joblib_launcher(sizes: str, status: int, expected: list[int], tmp_path: Path) -> None:
    arguments = ("--multirun", "hydra/launcher=joblib", f"batch_sizes={sizes}", "figures=false")
    done = started(tmp_path, *arguments, stdout=subprocess.DEVNULL)
    assert done.returncode == status, done.stderr
    jobs = job_folders(tmp_path, "sweep_batches")
    assert [number for number, job in enumerate(jobs) if (job / "batches.json").exists()] == expected


@pytest.mark.parametrize("arguments", [("--help",), ("--cfg", "job"), ("-m", "workload=tiny,small")])
def test_a_closed_pipe_ends_a_program_quietly(arguments: tuple[str, ...], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = started(tmp_path, *SWEEP, *arguments, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (READER_GONE, "")


def test_standard_output_that_is_closed(monkeypatch: pytest.MonkeyPatch, run_main: RunMain) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    done = run_main(batches.main, "--cfg", "job")
    assert (done.status, done.stderr.count("\n")) == (UNUSABLE, 1)
    assert "standard output is closed" in done.stderr


@pytest.mark.parametrize(
    "arguments, text",
    [
        ("model=unlimited_ocr,deepseek_ocr", "names several models; a cost is one model's, so give one."),
        ("model=unlimited_orc", 'model unlimited_orc does not exist; did you mean "unlimited_ocr"?'),
        ("model=deepseek_ocr model=unlimited_ocr", "model= is given 2 times (deepseek_ocr, unlimited_ocr)"),
        ("model=unlimited_ocr workload=gundam", "workload=gundam: there is no such workload"),
        ("+model=unlimited_ocr", "adds a key"),
    ],
)
def test_a_program_is_of_one_model(arguments: str, text: str, run_main: RunMain) -> None:
    done = run_main(batches.main, *SWEEP, *arguments.split())
    assert (done.status, done.stdout) == (UNUSABLE, "")
    assert text in done.stderr and done.stderr.count("\n") == 1


def test_a_models_own_program_is_of_no_other(run_main: RunMain) -> None:
    done = run_main(
        lambda: run("verify_published", PUBLISHED.OWN_KEYS, PUBLISHED.verify, model="deepseek_ocr"),
        "model=unlimited_ocr",
    )
    assert (done.status, done.stdout) == (UNUSABLE, "")
    assert done.stderr == "error: model=unlimited_ocr: this program is deepseek_ocr's own; leave model= out.\n"


def test_a_model_without_what_is_varied_says_so(toy: str, run_main: RunMain) -> None:
    done = run_main(grids.main, f"model={toy}", "figures=false")
    assert (done.status, done.stdout) == (UNUSABLE, "")
    assert "Toy cuts no page into tiles (one grid of whole patches, 4 to 64 a side)" in done.stderr
    done = run_main(modes.main, f"model={toy}", "figures=false", "output_tokens=3")
    assert (done.status, done.stderr) == (AGREES, "")
