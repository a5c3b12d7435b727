"""What `make wheel-check` asks of a wheel's files; the wheel itself is built there."""

import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.wheel import ROOT, Failure, check_files, package_files


def in_a_checkout() -> bool:
    return (ROOT / ".git").exists() and subprocess.run(["git", "--version"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not in_a_checkout(), reason="the package's files are those that git knows")


def wheel(path: Path, names: set[str]) -> Path:
    with ZipFile(path, "w") as archive:
        for name in (*names, "modelmeter-0.1.0.dist-info/RECORD"):
            archive.writestr(name, "")
    return path


def test_the_package_has_more_than_code() -> None:
    files = package_files()
    assert {Path(name).suffix for name in files} >= {".py", ".yaml", ".json", ".css", ".typed"}
    assert {"modelmeter/devices/h100_sxm.yaml", "modelmeter/py.typed"} < files


def test_a_wheel_has_all_of_it_and_nothing_else(tmp_path: Path) -> None:
    files = package_files()
    check_files(wheel(tmp_path / "whole.whl", files))
    with pytest.raises(Failure, match=r"the wheel lacks \['modelmeter/devices/h100_sxm\.yaml'\]"):
        check_files(wheel(tmp_path / "less.whl", files - {"modelmeter/devices/h100_sxm.yaml"}))
    with pytest.raises(Failure, match=r"lacks \[\], and has \['tests/more\.py'\] which the package has not"):
        check_files(wheel(tmp_path / "more.whl", files | {"tests/more.py"}))
