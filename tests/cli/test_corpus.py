"""`modelmeter corpus`: what it prints, where, and how it ends."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelmeter.cli.main import main
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.report.corpus_tables import MEASURES as SHOWN

ROOT = Path(__file__).parents[2]
CSV = "width,height,kind,n\n1275,1650,letter,10\n1275,1650,letter,20\n600,600,note,0\n-1,5,note,0\n"


@pytest.fixture
def sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sizes.csv").write_text(CSV)
    return "sizes.csv"


def out(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> tuple[str, str]:
    assert main(["corpus", *arguments]) == status
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_json(sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, err = out(capsys, sizes, "--by", "kind", "--output-tokens", "n", "--json", "workload.max_num=6")
    document = json.loads(text)
    model = load_cost_model(["workload.max_num=6"])
    letters = [model.page(1275, 1650, 10), model.page(1275, 1650, 20)]
    note = model.page(600, 600)
    assert (document["schema_version"], document["command"], document["model"]) == (1, "corpus", "deepseek_ocr")
    assert document["configuration"]["workload"]["max_num"] == 6
    assert document["sources"] == ["sizes.csv"]
    assert (document["by"], document["columns"]["output_tokens"]) == ("kind", "n")
    assert (document["pages"], document["output_tokens"]) == (3, 30)
    flops = sum(page.total.tensor_core_flops for page in (*letters, note))
    assert int(document["stages"]["total"]["tensor_core_flops"]) == flops
    assert document["stages"]["total"]["kv_bytes"] == letters[1].total.kv_bytes
    assert [(part["group"], part["pages"]) for part in document["groups"]] == [("letter", 2), ("note", 1)]
    assert [(part["layout"], part["pages"]) for part in document["layouts"]] == [
        ({"views": 1, "crop_columns": 1, "crop_rows": 1}, 1),
        ({"views": 7, "crop_columns": 2, "crop_rows": 3}, 2),
    ]
    assert document["distributions"]["views"] == {
        "smallest": 1, "percentiles": {"50": 7, "90": 7, "99": 7}, "largest": 7, "total": 15,
    }  # fmt: skip
    assert set(document["distributions"]) == {name for name, _, _ in SHOWN}
    left_out = {"source": "sizes.csv", "page_number": 4, "error": "width -1 is not positive"}
    assert document["left_out"] == {"pages": 1, "listed": [left_out]}
    assert err == "left out: sizes.csv#4: width -1 is not positive\n"


def test_without_groups_there_are_none(sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "groups" not in json.loads(out(capsys, sizes, "--json")[0])


def test_tables(sizes: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text, _ = out(capsys, sizes, "--by", "kind", "--exact")
    lines = [line.split() for line in text.splitlines()]
    assert text.startswith("3 pages from sizes.csv; 1 left out\n")
    page, note = load_cost_model().page(1275, 1650), load_cost_model().page(600, 600)
    flops = f"{2 * page.vision.tensor_core_flops + note.vision.tensor_core_flops:,}"
    assert ["tensor-core", "FLOPs", flops] in [line[:3] for line in lines]
    assert ["2", "x", "3", "2", "66.67", "%", "14", "1,806"] in [line[:8] for line in lines]
    assert ["letter", "2", "66.67", "%", "14", "1,806"] in [line[:6] for line in lines]
    assert ["views", "1", "7", "7", "7", "7", "5.0"] in lines


def test_pages_without_a_group(sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, _ = out(capsys, sizes, str(ROOT / "examples/pages/slide.png"), "--by", "kind")
    assert "(no kind)" in text


def test_rows_and_state(sizes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        out(capsys, sizes, "--rows", "rows.parquet", "--resume", "state")
        assert pq.read_metadata(tmp_path / "rows.parquet").num_rows == 4
    assert (tmp_path / "state" / "state.json").exists()


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CSV.encode())))
    assert out(capsys, "-")[0].startswith("3 pages from -; 1 left out")


def test_options_reach_the_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("w,h\n612.0,792.0\n")
    arguments = ["--width", "w", "--height", "h", "--unit", "points", "--dpi", "72"]
    document = json.loads(out(capsys, f"{tmp_path}/a.csv", *arguments, "--json")[0])
    # 612 x 792 pixels: beyond 640; 612/792 = 0.773 is nearest to 2/3
    assert document["layouts"][0]["layout"] == {"views": 7, "crop_columns": 2, "crop_rows": 3}
    _, err = out(capsys, str(ROOT / "examples/pages"), "--max-pixels", "1000000", "--json")
    assert err.count("left out: page ") == err.count("\n") > 3


BAD = {
    "nothing": ([], "there is no source"),
    "missing": (["nothing.csv"], "nothing.csv does not exist"),
    "column": (["sizes.csv", "--by", "kin"], 'there is no column kin; did you mean "kind"'),
    "unit": (["sizes.csv", "--unit", "inches"], "unit=inches is unknown"),
    "dpi": (["sizes.csv", "--dpi", "0"], "Invalid value for '--dpi'"),
    "tokens": (["sizes.csv", "--output-tokens", "-3"], "output_tokens=-3 is neither a number"),
    "tokens_column": (["sizes.csv", "--output-tokens", "m"], "there is no column m"),
    "engine": (["sizes.csv", "--engine", "dask"], "engine=dask is unknown"),
    "override": (["sizes.csv", "workload=gundem"], 'did you mean "gundam"'),
    "batch": (["sizes.csv", "runtime.batch_size=4"], "runtime.batch_size=4"),
    "model": (["sizes.csv", "--model", "deepseek"], 'did you mean "deepseek_ocr"'),
    "strict": (["sizes.csv", "--strict"], "sizes.csv#4: width -1 is not positive (strict"),
    "rows": (["sizes.csv", "--rows", "sizes.csv/rows"], "cannot be written"),
    "rows_over_a_source": (["sizes.csv", "--rows", "./sizes.csv"], "sizes.csv is one of the inputs"),
    "rows_over_a_match": (["*.csv", "--rows", "sizes.csv"], "sizes.csv is one of the inputs"),
    "rows_are_a_folder": (["sizes.csv", "--rows", "."], "corpus: . is a directory; give the name of a file."),
    "rows_in_the_resumed_folder": (
        ["sizes.csv", "--rows", "new/state.json", "--resume", "new"],
        "state.json is in new,",
    ),
    "resume_over_a_source": (["sizes.csv", "--resume", "sizes.csv"], "could be written over source sizes.csv"),
    "resume_in_the_folder_of_a_source": (["sizes.csv", "--resume", "."], "in . could be written over source sizes.csv"),
    "signs": (["sizes.csv", "--output-tokens=--5"], "there is no column --5"),
    "very_many_tokens": (["sizes.csv", "--output-tokens", "9" * 5000], "there is no column 999"),
    "context": (
        ["sizes.csv", "--output-tokens", "8192"],
        "no page to count (4 left out; the first: sizes.csv#1",
    ),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD)
def test_bad_input(sizes: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, err = out(capsys, *arguments, status=2)
    assert text == ""
    assert err.startswith("error: ") and message in err
    assert err.count("\n") == 1
    assert os.listdir() == ["sizes.csv"]


def test_rows_in_a_folder_of_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They may be written again by the same command; a page or a table there may not be written over."""
    Image.new("L", (300, 200)).save(tmp_path / "a.png")
    rows, table = tmp_path / "rows.parquet", tmp_path / "sizes.csv"
    table.write_text("width,height\n5,5\n")
    state = tmp_path.parent / f"{tmp_path.name}-state"
    for resume in ([], ["--resume", str(state)], ["--resume", str(state)]):
        out(capsys, str(tmp_path), "--rows", str(rows), *resume)
    for kept in (table, tmp_path / "a.png"):
        before = kept.read_bytes()
        _, err = out(capsys, str(tmp_path), "--rows", str(kept), status=2)
        assert f"{kept.name} is one of the inputs" in err
        assert kept.read_bytes() == before
    _, err = out(capsys, str(rows), "--rows", str(rows), status=2)
    assert "rows.parquet is one of the inputs" in err


def test_only_the_first_pages_left_out_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("width,height\n5,5\n" + "0,5\n" * 1500)
    lines = out(capsys, f"{tmp_path}/a.csv")[1].splitlines()
    assert len(lines) == 21
    assert lines[-1] == "left out: 1,480 more"


def test_no_terminal_no_progress(sizes: str) -> None:
    command = [sys.executable, "-m", "modelmeter", "corpus", sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "left out: sizes.csv#4: width -1 is not positive\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals here")
def test_a_terminal_shows_progress(sizes: str) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "modelmeter", "corpus", sizes, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        assert process.stdout is not None
        shown = process.stdout.read()
        told = b""
        try:
            while more := os.read(ours, 4096):
                told += more
        except OSError:  # the other side is closed
            pass
    os.close(ours)
    assert json.loads(shown)["pages"] == 3
    assert b" pages" in told


def test_without_pyarrow_the_error_says_what_to_install(sizes: str) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        f"from modelmeter.cli.main import main; sys.exit(main(['corpus', '{sizes}']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: corpus needs pyarrow")
    assert done.stderr.endswith("pip install pyarrow.\n")
