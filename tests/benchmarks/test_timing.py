"""The study of kernels' times on made-up tables, the file that writes constants, and what both have written here."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks.timing import constants, study
from modelmeter.calibration.kernel_file import kernels_text
from modelmeter.devices import Device, bundled_devices, load_device
from tests.calibration.made_up import COLUMNS, write_llmservingsim, write_tables, write_vidur

pytestmark = pytest.mark.slow  # seconds, not for every change

REPORT = Path("reports/timing/README.md")
DOCUMENT = Path("docs/calibration.md")


def marked(text: str) -> str:
    """What stands between a document's markers."""
    return text.partition("<!-- judged:begin -->\n\n")[2].partition("\n<!-- judged:end -->")[0]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of all fitted devices, which take what the devices' files say."""
    folder = tmp_path_factory.mktemp("published")
    for name, sources in constants.FITTED_ON.items():
        device = load_device(name)
        values = {key: dict(each.values) for key, each in device.kernels.items()}
        rates = device.rates("bf16")
        for part, _ in sources:
            if part.startswith("kernels/"):
                classes = [key for key in COLUMNS if device.kernels[key].origin == "fitted"]
                write_tables(folder / part, values, rates, classes)
            elif part.startswith("vidur/"):
                write_vidur(folder / part / "tiny" / "mlp.csv", values, rates)
            else:
                write_llmservingsim(folder / part / "meta-llama/Llama-3.1-8B/bf16/tp1", values, rates)
    return folder


def test_the_study_of_made_up_tables(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    monkeypatch.setattr(study, "draw", lambda panels, columns, path: drawn.update({path.name: (len(panels), columns)}))
    document = tmp_path / "document.md"
    document.write_text("before\n<!-- judged:begin -->\nold\n<!-- judged:end -->\nafter\n")
    assert study.main([str(tables), str(tmp_path / "out"), str(document)]) == 0
    page = (tmp_path / "out/README.md").read_text()
    shared = marked(document.read_text())
    assert shared and shared in page
    own, carried, roofline = (each.splitlines() for each in shared.split("| class |")[1:])
    assert own[0].split(" | ") == [" A100-80G", "H100-SXM", "H200", "L40S", "RTX-PRO-6000-Server", "RTX-4090 |"]
    assert "| `gemm` | 0.0 / 0 | 0.0 / 0 | 0.0 / 0 | 0.0 / 0 | 0.0 / 0 | 0.0 / 0 |" in own
    assert "| `encoder_attention` | – | 0.0 / 0 | 0.0 / 0 | 0.0 / 0 | 0.0 / 0 | – |" in own
    assert "| `elementwise` | 0.0 / 0 | 0.0 / 0 | – | – | 0.0 / 0 | 0.0 / 0 |" in own
    assert len(carried) == len(own) and "0.0 / 0" not in "".join(carried)
    assert "/" not in "".join(roofline)
    assert drawn == {"held_out.png": (6 * 6, 6), "ours.png": (2 * 5, 5)}


def test_a_figure(tmp_path: Path) -> None:
    seconds = np.array([1e-6, 1e-5])
    none = np.ones(0)
    study.draw([("a", seconds, 2 * seconds, seconds), ("no table", none, none, None)], 1, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_constants_are_found_again_and_written(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of a table takes what the file says of it: the fit finds nearly that, and kin carry what was found."""
    folder = tmp_path / "devices"
    shutil.copytree(constants.DEVICES, folder)
    monkeypatch.setattr(constants, "DEVICES", folder)
    assert constants.main([str(tables)]) == 0
    for name, key in (("A100-80G", "bandwidth"), ("L40S", "bandwidth"), ("RTX-PRO-6000-Server", "overhead_s")):
        old = load_device(name)
        new = load_device(folder / old.file)
        found, true = new.kernels["moe"], old.kernels["moe"]
        assert found.origin == "fitted" and found.errors is not None and found.errors.median < 0.01
        assert found.values[key] == pytest.approx(true.values[key], rel=0.05)
    server, workstation = (load_device(folder / f"rtx_pro_6000{which}.yaml") for which in ("_server", ""))
    assert workstation.kernels["moe"].values == server.kernels["moe"].values
    assert not load_device(folder / "cpu_xeon_8480.yaml").kernels


@pytest.mark.parametrize("device", bundled_devices(), ids=lambda each: each.name)
def test_files_are_as_the_script_writes_them(device: Device) -> None:
    text = (constants.DEVICES / device.file).read_text(encoding="utf-8")
    if device.kernels:
        assert constants.written(text, kernels_text(device.kernels)) == text
    assert ("kernels" in yaml.safe_load(text)) == bool(device.kernels) == (device.kind == "gpu")


def test_the_document_and_the_report_have_the_same_tables() -> None:
    shared = marked(DOCUMENT.read_text(encoding="utf-8"))
    assert shared.count("| class |") == 3 and shared in REPORT.read_text(encoding="utf-8")


def test_tables_hold_the_errors_that_devices_files_have() -> None:
    """Of classes whose held-out rows are all judged together, file and table say the same."""
    own = marked(DOCUMENT.read_text(encoding="utf-8")).split("| class |")[1].splitlines()
    names = [each.strip() for each in own[0].strip(" |").split("|")]
    rows = {cells[1].strip(" `"): cells[2:-1] for line in own if (cells := line.split("|"))[0] == "" and len(cells) > 3}
    for key, row in (("gemm", "gemm_cold"), ("context_attention", "context_attention"), ("elementwise", "elementwise")):
        for name, cell in zip(names, rows[row], strict=True):
            errors = load_device(name).kernels[key]
            if errors.origin == "fitted":
                assert errors.errors is not None
                median, p90 = map(float, cell.split("/"))  # of rounded figures
                assert median == pytest.approx(100 * errors.errors.median, abs=0.06), (name, key)
                assert p90 == pytest.approx(100 * errors.errors.p90, abs=0.6), (name, key)


@pytest.mark.parametrize("program", [study, constants])
def test_a_wrong_call_says_how(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([]) == 2
    assert "TABLES" in capsys.readouterr().out
