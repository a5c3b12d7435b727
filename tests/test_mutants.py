"""The faults of `make mutants`: each is one still, has a test that exists, and one of them runs here."""

import re
from pathlib import Path

import pytest

from tests import mutants
from tests.mutants import MUTANTS, REPORT, ROOT, Mutant, main, report_text

pytestmark = pytest.mark.slow

#: caught without torch, whose import takes most of the time
QUICK = [mutant for mutant in MUTANTS if mutant.kind == "tie rule" and mutant.test.startswith("tests/test_sizes.py")]


def harmless(test: str) -> Mutant:
    return Mutant(
        kind="nothing",
        what="a comment",
        file="units.py",
        old="from typing import Final",
        new="from typing import Final  #",
        test=test,
    )


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_each_mutant_is_one(mutant: Mutant) -> None:
    assert mutant.text() != (mutants.PACKAGE / mutant.file).read_text(encoding="utf-8")
    path, _, name = mutant.test.partition("::")
    assert re.search(rf"^def {re.escape(name.partition('[')[0])}\(", (ROOT / path).read_text(encoding="utf-8"), re.M)


def test_there_are_enough_of_every_kind_and_the_report_lists_them() -> None:
    assert len(MUTANTS) >= 15
    assert len({mutant.what for mutant in MUTANTS}) == len(MUTANTS)
    assert REPORT.read_text(encoding="utf-8") == report_text(MUTANTS)


def test_one_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(QUICK) == 1
    assert main([], QUICK, report=None) == 0
    assert capsys.readouterr().out.endswith("1 of 1 mutants caught\n")


def test_one_that_survives_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], [harmless("tests/test_errors.py")], report=None) == 1
    assert "SURVIVED: nothing: a comment\n    tests/test_errors.py\n" in capsys.readouterr().out


def test_what_gives_no_verdict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="do not pass on the package as it is"):
        main([], [harmless("tests/no_such_test.py")], report=None)
    with pytest.raises(SystemExit, match=r"units.py has 0 times, not once"):
        Mutant(kind="", what="", file="units.py", old="no such text", new="", test="").text()
    with pytest.raises(SystemExit, match="there is no kind tie; there are"):
        main(["tie"])
