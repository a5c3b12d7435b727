"""How a program ends, wherever Hydra's launcher runs its jobs."""

import multiprocessing
import sys
from collections.abc import Callable

import hydra
import pytest

from modelmeter.models.deepseek_ocr.scripts.program import DISAGREES, UNUSABLE, run

Job = Callable[[object], None]


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
        run("deepseek_ocr", {}, lambda status: int(str(status)))
        return
    with pytest.raises(SystemExit) as ended:
        run("deepseek_ocr", {}, lambda status: int(str(status)))
    assert ended.value.code == max(statuses)


def run_without_jobs(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """The program under a launcher whose jobs leave nothing here."""
    monkeypatch.setattr(hydra, "main", lambda **_: lambda job: lambda: None)
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    run("deepseek_ocr", {}, lambda status: 0)


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
