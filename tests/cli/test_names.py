"""Names and cells that are no Unicode, or that a terminal would obey: each command answers, and shows them escaped."""

import json
import os
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelmeter.cli.main import main

Capture = pytest.CaptureFixture[str]

#: bytes that are no UTF-8; colours and a line's end; what turns the direction of writing; C1
NAMES = {
    os.fsdecode(b"in/a\xff.png"): r"in/a\udcff.png",
    "in/b\x1b[31m\n.png": r"in/b\x1b[31m\n.png",
    "in/c\u202egnp.png": r"in/c\u202egnp.png",
    "in/d\x9b.png": r"in/d\x9b.png",
}
#: a group of its own for each row: a lone surrogate, a line's end, an escape sequence
CELLS = {"\ud800x": r"\ud800x", "b\nc": r"b\nc", "\x1b]0;title\x07": r"\x1b]0;title\x07"}


@pytest.fixture(autouse=True)
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    for name in NAMES:
        try:
            with open(name, "wb") as file:
                Image.new("L", (300, 200)).save(file, "PNG")
        except OSError:
            pytest.skip("this file system takes no such names")
    rows = [{"width": 5, "height": 6, "kind": cell} for cell in CELLS]
    rows.append({"width": "\ud800", "height": "\x1b[2J", "kind": "x"})
    (tmp_path / "sizes.jsonl").write_text("\n".join(map(json.dumps, rows)))


def is_clean(text: str) -> bool:
    """Whether a terminal prints all of it, in lines of our own."""
    return all(unicodedata.category(sign) not in ("Cc", "Cf", "Cs") for sign in text.replace("\n", ""))


PRINTED = {
    "page": ["page", *NAMES],
    "modes": ["modes", next(iter(NAMES)), "in/b\x1b[31m\n.png"],
    "throughput": ["throughput", *NAMES, "--output-tokens", "5", "--device", "L4"],
    "corpus": ["corpus", *NAMES],
    "report": ["report", *NAMES, "-o", "-", "--format", "markdown"],
    "html": ["report", *NAMES, "-o", "-", "--format", "html"],
}


@pytest.mark.parametrize("arguments", PRINTED.values(), ids=PRINTED)
def test_names_on_a_terminal(arguments: list[str], capsys: Capture) -> None:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert is_clean(captured.out) and is_clean(captured.err)
    shown = captured.out.replace("\\\\", "\\").replace("\\[", "[").replace("\\_", "_")  # Markdown's own escapes
    named = [NAMES[name] for name in arguments if name in NAMES][:3]
    assert named and all(each in "".join(shown.split()) for each in named)


@pytest.mark.parametrize("source", ["in", "sizes.jsonl"])
@pytest.mark.parametrize("command", ["corpus", "throughput"])
def test_cells_and_groups_on_a_terminal(command: str, source: str, capsys: Capture) -> None:
    by = "folder" if source == "in" else "kind"
    asked = ["--device", "L4", "--output-tokens", "5"] if command == "throughput" else []
    assert main([command, source, "--by", by, *asked]) == 0
    out, err = capsys.readouterr()
    assert is_clean(out) and is_clean(err)
    if source == "sizes.jsonl":
        assert all(each in out for each in CELLS.values())
        assert err == "left out: sizes.jsonl#4: width \\ud800 is no number\n"


@pytest.mark.parametrize("source, shown", [("in", NAMES), ("sizes.jsonl", CELLS)])
def test_a_corpus_of_them_in_every_form(source: str, shown: dict[str, str], capsys: Capture, tmp_path: Path) -> None:
    """JSON and Parquet hold the text itself, but for what UTF-8 cannot."""
    texts = {name if name.isascii() or "\u202e" in name or "\x9b" in name else shown[name] for name in shown}
    for resume in ([], ["--resume", "state"], ["--resume", "state"]):
        by = "folder" if source == "in" else "kind"
        assert main(["corpus", source, "--by", by, "--rows", "rows.parquet", "--json", *resume]) == 0
        document = json.loads(capsys.readouterr().out)
        rows = pq.read_table("rows.parquet")
        if source == "in":
            assert set(rows.column("source").to_pylist()) == texts
        else:
            assert {group["group"] for group in document["groups"]} == texts
            assert set(rows.column("group").to_pylist()) == {*texts, "x"}


def test_results_as_json(capsys: Capture) -> None:
    """Every reader takes it: ASCII, and no lone surrogate."""
    assert main(["page", *NAMES, "--json"]) == 0
    text = capsys.readouterr().out
    assert text.isascii() and "\x1b" not in text
    sources = [page["source"] for page in json.loads(text)["pages"]]
    assert sources == [shown if "\udcff" in name else name for name, shown in NAMES.items()]


@pytest.mark.parametrize("name", ["out.html", "out.md", "out.json"])
def test_reports_in_files(name: str, capsys: Capture) -> None:
    assert main(["report", *NAMES, "-o", name]) == 0
    assert is_clean(capsys.readouterr().out)
    assert is_clean(Path(name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES, ids=NAMES.values())
def test_names_in_errors(name: str, capsys: Capture) -> None:
    for arguments in (
        ["page", f"{name}.nothing"],
        ["corpus", f"{name}.nothing"],
        ["report", "5x5", "-o", name],
        ["page", "5x5", "--dpi", name],
        ["page", "5x5", f"--{name}"],
        [name],
        ["devices", name],
        ["diff", name, name],
        ["page", "5x5", f"workload={name}"],
    ):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == "" and is_clean(err)
        assert err.count("\n") == 1 and NAMES[name] in err.replace("\\\\", "\\")


def test_bad_pages_named_so_are_listed_once(capsys: Capture) -> None:
    for name in NAMES:
        Path(name).write_bytes(b"no image")
    Path("good.csv").write_text("width,height\n5,5\n")
    assert main(["corpus", "in", "good.csv"]) == 0
    err = capsys.readouterr().err
    assert is_clean(err)
    assert [line.count("page ") for line in err.splitlines()] == [1] * len(NAMES)
