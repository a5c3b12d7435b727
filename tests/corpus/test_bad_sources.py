"""What is wrong in a source costs that place alone: rows, tables, files, folders, whatever their bytes are."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelmeter.cli.main import main
from modelmeter.corpus import CorpusOptions, ModelLoader, SizeColumns, run_corpus
from modelmeter.corpus.sources import LONGEST_LINE, Notes, ReadOptions, list_items, read_item
from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import CostModel

Load = ModelLoader[CostModel]
Capture = pytest.CaptureFixture[str]
WriteParquet = Callable[..., str]


def read(*sources: object, notes: Notes | None = None, **options: Any) -> list[dict[str, Any]]:
    noted = Notes() if notes is None else notes
    return [
        row
        for item in list_items(list(map(str, sources)), noted)
        for batch in read_item(item, ReadOptions(**options), noted)
        for row in batch.to_pylist()
    ]


# -- quotes of a CSV table -------------------------------------------------------------------------------------------

UNCLOSED = "opens a quote that is not closed; this line alone is left out"


def table(*rows: str) -> str:
    return "width,height,text\n" + "".join(f"{row}\n" for row in rows)


QUOTES: dict[str, tuple[Sequence[str], Sequence[str | None]]] = {
    # rows, then width or the reason of each row that is read
    "to_the_end": (('1,5,"a', *(f"{n},5,b" for n in range(2, 900))), [UNCLOSED, *map(str, range(2, 900))]),
    "in_the_last_row": (("1,5,a", '2,5,"b'), ["1", UNCLOSED]),
    "until_another": (('1,5,"a', "2,5,b", '3,5,"c"', "4,5,d"), [UNCLOSED, "2", "3", "4"]),
    "one_after_another": (('1,5,"a', '2,5,"b', '3,5,"c', "4,5,d"), [UNCLOSED, UNCLOSED, UNCLOSED, "4"]),
    "closed_in_another_column": (('1,5,"a', '2",5,b', "3,5,c"), [UNCLOSED, '2"', "3"]),
    "in_a_side": (('"1,5,a', '2,5,a",b,c', "3,5,c"), [UNCLOSED, "has 5 fields, and the table has 3 columns", "3"]),
    "text_of_lines": (('1,5,"a\nb, ""c""\n\nd"', "2,5,e"), ["1", "2"]),
    "within_a_line": (('1,5,"a"b', '2,5,c"d', '3,5,""', '4,5,"e, f"'), ["1", "2", "3", "4"]),
    "longer_than_a_field": (
        ('1,5,"a', *(f"{n},5,{'b' * 99}" for n in range(2, 3000))),
        [UNCLOSED, *map(str, range(2, 3000))],
    ),
}


@pytest.mark.parametrize("rows, expected", QUOTES.values(), ids=QUOTES)
@pytest.mark.parametrize("batch_pages", [1, 1000])
def test_a_quote_that_is_not_closed_costs_its_line(
    tmp_path: Path, rows: Sequence[str], expected: Sequence[str | None], batch_pages: int
) -> None:
    (tmp_path / "a.csv").write_text(table(*rows))
    found = read(tmp_path / "a.csv", batch_pages=batch_pages)
    assert [row["error"] or row["width"] for row in found] == expected
    assert [row["page_number"] for row in found] == list(range(1, len(expected) + 1))


def test_a_field_that_is_too_long_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table("1,5,a", f"2,5,{'b' * 200_000}", "3,5,c"))
    rows = read(tmp_path / "a.csv")
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[1]["error"].startswith("is no row of a CSV table (field larger than field limit")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_a_line_without_an_end_ends_the_table(tmp_path: Path, name: str) -> None:
    start = {"a.csv.gz": b"width,height\n1,2\n", "a.jsonl.gz": b'{"width": 1, "height": 2}\n'}[name]
    with gzip.open(tmp_path / name, "wb", 1) as file:
        file.write(start)
        for _ in range(20):
            file.write(b"1" * (LONGEST_LINE // 16))
    rows = read(tmp_path / name)
    assert [row["width"] for row in rows] == ["1", None]
    assert rows[1]["error"] == f"cannot be read after row 1 (a line is longer than {LONGEST_LINE:,} characters)"


# -- cells -----------------------------------------------------------------------------------------------------------

CELLS = {
    "digits": ("9" * 100_000, "is more than 2147483647 pixels"),
    "infinite": ("1e400", "is more than 2147483647 pixels"),
    "tiny": ("1e-400", "is not positive"),
    "word": ("nan", "is no number"),
    "base": ("0x10", "is no number"),
}


@pytest.mark.parametrize("cell, reason", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_cell_costs_its_row(tmp_path: Path, load_model: Load, cell: str, reason: str, name: str) -> None:
    lines = {
        "a.csv": f"width,height\n{cell},5\n6,7\n",
        "a.jsonl": f'{{"width": "{cell}", "height": 5}}\n{{"width": 6, "height": 7}}\n',
    }
    (tmp_path / name).write_text(lines[name])
    cost = run_corpus([str(tmp_path / name)], load_model)
    assert (cost.everything.totals.pages, cost.left_out) == (1, 1)
    assert reason in cost.listed[0].error and len(cost.listed[0].error) < 100


def test_texts_that_are_no_utf8(tmp_path: Path, load_model: Load) -> None:
    lines = ['{"width": 5, "height": 6, "g": "\\ud800"}', '{"width": "\\udfff", "height": 6, "g": "a"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    cells = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\3\0\0\0\6\0\0\0"), pa.py_buffer(b"\xff\xfe1600")]
    )
    pq.write_table(pa.table({"width": cells, "height": [6, 6], "g": cells}), tmp_path / "a.parquet")
    sources = [str(tmp_path / name) for name in ("a.jsonl", "a.parquet")]
    cost = run_corpus(sources, load_model, CorpusOptions(group="g", rows=tmp_path / "rows.parquet"))
    assert set(cost.groups) == {"\\ud800", "600"}
    assert [each.error for each in cost.listed] == ["width \\udfff is no number", "width \\xff\\xfe1 is no number"]
    assert pq.read_table(tmp_path / "rows.parquet").column("group").to_pylist() == [
        "\\ud800",
        "a",
        "\\xff\\xfe1",
        "600",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_names_that_are_no_utf8(tmp_path: Path, load_model: Load) -> None:
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    for name in (b"caf\xe9.png", b"caf\xe9.csv"):
        shutil.copy(tmp_path / "a.png", os.path.join(os.fsencode(tmp_path), name))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe9d.png")).write_bytes(b"no image")
    options = CorpusOptions(group="folder", rows=tmp_path / "rows.parquet", resume=tmp_path / "state")
    for _ in range(2):
        cost = run_corpus([str(tmp_path)], load_model, options)
        assert (cost.everything.totals.pages, cost.left_out) == (2, 1)
        assert str(cost.listed[0]).startswith(f"page {tmp_path}/b\\udce9d.png is not an image")
        assert f"{tmp_path}/caf\\udce9.png" in pq.read_table(options.rows).column("source").to_pylist()


# -- Parquet ---------------------------------------------------------------------------------------------------------

GOOD = {"width": [1275, 600], "height": [1650, 600]}


def bad_parquet(folder: Path, kind: str) -> None:
    path = folder / "bad.parquet"
    if kind == "two_columns_of_a_name":
        pq.write_table(pa.table([pa.array([1])] * 3, names=["width", "width", "height"]), path)
    elif kind == "nested":
        pq.write_table(pa.table({"width": [[1]], "height": [{"a": 1}]}), path)
    elif kind == "dates":
        pq.write_table(pa.table({"width": pa.array([1], pa.date32()), "height": [1]}), path)
    elif kind == "damaged_footer":
        path.write_bytes(b"PAR1" + bytes(100) + (50).to_bytes(4, "little") + b"PAR1")
    elif kind == "damaged_name":
        pq.write_table(pa.table(GOOD), path)
        path.write_bytes(path.read_bytes().replace(b"width", b"w\x14dth"))
    elif kind == "name_of_no_text":
        pq.write_table(pa.table(GOOD), path)
        path.write_bytes(path.read_bytes().replace(b"width", b"w\xff\xfeth"))
    elif kind == "encrypted":
        pq.write_table(pa.table(GOOD), path)
        path.write_bytes(path.read_bytes()[:-4] + b"PARE")


REASONS = {
    "two_columns_of_a_name": "has 2 columns width; rename all but one",
    "nested": "column width holds list<.*>, not numbers",
    "dates": r"column width holds date32\[day\], not numbers",
    "damaged_footer": "is no whole Parquet file",
    "damaged_name": "has a damaged schema: two lists of its columns differ",
    "name_of_no_text": "",
    "encrypted": "is no whole Parquet file",
}


@pytest.mark.parametrize("kind, reason", REASONS.items(), ids=REASONS)
def test_a_parquet_file_that_cannot_be_used_is_left_out(
    tmp_path: Path, load_model: Load, write_parquet: WriteParquet, kind: str, reason: str
) -> None:
    bad_parquet(tmp_path, kind)
    first, last = write_parquet(GOOD), write_parquet(GOOD, name="z.parquet")
    cost = run_corpus([first, str(tmp_path / "bad.parquet"), last], load_model)
    assert (cost.everything.totals.pages, cost.left_out) == (4, 1)
    (listed,) = cost.listed
    assert (listed.source, listed.page_number) == (str(tmp_path / "bad.parquet"), None)
    assert re.match(reason, listed.error)
    with pytest.raises(ModelMeterError, match=r"there is no page to count \(1 left out; the first: "):
        run_corpus([str(tmp_path / "bad.parquet")], load_model)


def test_of_a_table_that_cannot_be_used_all_pieces_are_one(
    load_model: Load, write_parquet: WriteParquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmeter.corpus.sources.BATCH_PAGES", 2)
    bad = write_parquet({"width": [[1]] * 6, "height": [1] * 6}, name="bad.parquet", row_group_size=1)
    assert len(list(list_items([bad]))) == 3
    assert run_corpus([bad, write_parquet(GOOD)], load_model).left_out == 1


def test_two_columns_of_a_name_in_a_csv_table(tmp_path: Path, load_model: Load) -> None:
    (tmp_path / "bad.csv").write_text("width,height,width\n1,2,3\n")
    (tmp_path / "good.csv").write_text("width,height,n,n\n1,2,3,4\n")
    cost = run_corpus([f"{tmp_path}/*.csv"], load_model)
    assert (cost.everything.totals.pages, cost.listed[0].error) == (1, "has 2 columns width; rename all but one")


def test_small_row_groups_are_read_together(
    write_parquet: WriteParquet, load_model: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of a row group a row is opened twice, not once a row: each time its whole footer is read."""
    sizes = list(range(1, 301))
    path = write_parquet({"width": sizes, "height": sizes}, row_group_size=1)
    opened = []

    class Counting(pq.ParquetFile):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            opened.append(arguments)
            super().__init__(*arguments, **keywords)

    monkeypatch.setattr(pq, "ParquetFile", Counting)
    rows = read(path)
    assert [(row["page_number"], row["width"]) for row in rows] == list(zip(sizes, sizes, strict=True))
    assert len(opened) == 2


# -- folders ---------------------------------------------------------------------------------------------------------


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (30, 20)).save(path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="the length of a path is bounded otherwise")
@pytest.mark.parametrize("pattern", ["", "/**/*.png"], ids=["folder", "glob"])
def test_folders_in_folders(tmp_path: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    os.chdir("in")
    for _ in range(1100):
        os.mkdir("d")
        os.chdir("d")
    Image.new("L", (30, 20)).save("page.png")
    os.chdir(tmp_path)
    try:
        assert [row["width"] for row in read(f"in{pattern}")] == [30]
    finally:
        subprocess.run(["rm", "-r", "in"], check=True)  # pytest would meet Python's limit on recursion


def test_links_that_lead_in_circles(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "sub" / "page.png")
    picture(tmp_path / "in" / ".hidden" / "page.png")
    for name in ("a", "b", "c.png"):
        (tmp_path / "in" / "sub" / name).symlink_to(tmp_path / "in")
    for pattern in ("in/**/*.png", "in/**/page.png", "**/sub/*.png", "in/**", "**/pag?.[p]ng"):
        assert [row["source"] for row in read(tmp_path / pattern)] == [str(tmp_path / "in/sub/page.png")], pattern
    notes = Notes()
    read(tmp_path / "in", notes=notes)
    assert notes.not_read == {}, "links to folders are no files"


@pytest.mark.slow
def test_files_that_are_not_read_are_counted(tmp_path: Path, load_model: Load, capsys: Capture) -> None:
    picture(tmp_path / "in" / "page.png")
    for name in ("a.heic", "b.HEIC", "c.jxl", "notes.txt", "x/a.txt", "sizes.csv", ".DS_Store", "plain", "a.\x1b[31m"):
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    counted = {".heic": 2, ".jxl": 1, ".txt": 2, ".csv": 1, "other": 2}
    cost = run_corpus([str(tmp_path / "in")], load_model)
    assert (cost.everything.totals.pages, dict(cost.notes.not_read), cost.left_out) == (1, counted, 3)
    assert main(["corpus", str(tmp_path / "in")]) == 0
    captured = capsys.readouterr()
    first = captured.out.splitlines()[0]
    assert first.endswith("; 3 left out; files not read: .heic 2, .txt 2, other 2, .csv 1, .jxl 1")
    assert captured.err.count("which is not read; convert it to PNG, JPEG, TIFF or PDF\n") == 3
    assert main(["corpus", str(tmp_path / "in"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files_not_read"] == counted
    assert main(["throughput", str(tmp_path / "in"), "--output-tokens", "5", "--device", "H200", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["corpora"][0]["files_not_read"] == counted
    assert f"{tmp_path}/in: files not read: .heic 2, " in captured.err
    assert main(["report", str(tmp_path / "in"), "-o", "-"]) == 2
    assert "a.heic: is a .heic file, which is not read; convert it" in capsys.readouterr().err
    for path in (tmp_path / "in").glob("*.[hHj]*"):
        path.unlink()
    assert main(["report", str(tmp_path / "in"), "-o", "-", "--format", "json"]) == 0
    assert capsys.readouterr().err == f"{tmp_path}/in: files not read: .txt 2, other 2, .csv 1\n"


def test_suffixes_without_end_are_counted_together() -> None:
    notes = Notes()
    for number in range(500):
        notes.pass_over(f"a.{number}")
    assert (len(notes.not_read), notes.not_read["other"], notes.not_read.total()) == (101, 400, 500)


def test_frames_of_a_tiff_are_pages(tmp_path: Path, load_model: Load) -> None:
    frames = [Image.new("L", size) for size in ((1275, 1650), (600, 600), (600, 600))]
    frames[0].save(tmp_path / "scan.tif", save_all=True, append_images=frames[1:])
    picture(tmp_path / "a.png")
    rows = read(tmp_path)
    assert [(Path(row["source"]).name, row["page_number"], row["width"]) for row in rows] == [
        ("a.png", 1, 30),
        ("scan.tif", 1, 1275),
        ("scan.tif", 2, 600),
        ("scan.tif", 3, 600),
    ]
    assert run_corpus([str(tmp_path)], load_model).everything.totals.pages == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_in_a_folder_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.pdf")
    os.mkfifo(tmp_path / "c.tif")
    assert [row["error"].split(" is ")[1] for row in read(tmp_path)] == ["no regular file; give an image file."] * 3


# -- rows that stand for several pages -------------------------------------------------------------------------------


def test_counts(tmp_path: Path, load_model: Load) -> None:
    rows = "1275,1650,3,a\n600,600,0,a\n600,600,1000000000000,b\n0,5,7,b\n5,5,-1,b\n5,5,1.5,b\n5,5,,b\n5,5,1e13,b\n"
    (tmp_path / "a.csv").write_text(f"width,height,count,g\n{rows}")
    options = CorpusOptions(columns=SizeColumns(count="count"), group="g", rows=tmp_path / "rows.parquet")
    cost = run_corpus([str(tmp_path / "a.csv")], load_model, options)
    letter, note = load_model().page(1275, 1650), load_model().page(600, 600)
    totals = cost.everything.totals
    assert totals.pages == 10**12 + 3
    assert totals.prefill.tensor_core_flops == (
        3 * letter.prefill.tensor_core_flops + 10**12 * note.prefill.tensor_core_flops
    )
    assert {group: part.totals.pages for group, part in cost.groups.items()} == {"a": 3, "b": 10**12}
    assert cost.left_out == 7 + 1 + 1 + 1 + 1
    assert [each.error for each in cost.listed] == [
        "width 0 is not positive",
        "count -1 is no number of pages from 0 to 1,000,000,000,000",
        "count 1.5 is no number of pages from 0 to 1,000,000,000,000",
        "count  is no number of pages from 0 to 1,000,000,000,000",
        "count 1e13 is no number of pages from 0 to 1,000,000,000,000",
    ]
    counts = pq.read_table(tmp_path / "rows.parquet").column("page_count").to_pylist()
    assert counts == [3, 0, 10**12, 7, 1, 1, 1, 1]


def test_a_line_that_is_no_json_among_counts(tmp_path: Path, load_model: Load) -> None:
    (tmp_path / "a.jsonl").write_text('{"width": 5, "height": 5, "count": "3"}\nnothing\n')
    cost = run_corpus([str(tmp_path / "a.jsonl")], load_model, CorpusOptions(columns=SizeColumns(count="count")))
    assert (cost.everything.totals.pages, cost.left_out) == (3, 1)
    assert [each.error for each in cost.listed] == ["is no JSON object"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_row_a_count_is_a_row_a_page(tmp_path: Path, load_model: Load, name: str) -> None:
    sizes = [(1275, 1650, 2), (600, 220, 3), (1275, 1650, 1)]
    rows = [{"width": width, "height": height, "n": count} for width, height, count in sizes]
    if name == "a.csv":
        (tmp_path / name).write_text(
            "width,height,n\n" + "".join(f"{wide},{high},{count}\n" for wide, high, count in sizes)
        )
    elif name == "a.jsonl":
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    (tmp_path / "each.csv").write_text(
        "width,height\n" + "".join(f"{wide},{high}\n" * count for wide, high, count in sizes)
    )
    for batch_pages in (1, 2, 100):
        options = CorpusOptions(columns=SizeColumns(count="n"), batch_pages=batch_pages)
        assert run_corpus([str(tmp_path / name)], load_model, options) == run_corpus(
            [str(tmp_path / "each.csv")], load_model
        )


@pytest.mark.slow
def test_commands_take_counts(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("few.csv").write_text("width,height,count\n1275,1650,2\n600,600,3\n600,600,0\n")
    Path("all.csv").write_text("width,height\n" + "1275,1650\n" * 2 + "600,600\n" * 3)

    def document(command: str, name: str, *options: str) -> dict[str, Any]:
        assert main([command, name, *options]) == 0
        captured = capsys.readouterr()
        hint = f"hint: {name}: column count is not used; --count count takes it as pages a row\n"
        assert captured.err == (hint if name == "few.csv" and "--count" not in options else "")
        shown: dict[str, Any] = json.loads(re.sub(rf"{name}(#\d+)?", "sizes.csv", captured.out))
        return shown

    for command, options in {
        "corpus": ["--json"],
        "throughput": ["--json", "--output-tokens", "50", "--device", "H200"],
        "report": ["--json"],
    }.items():
        counted = document(command, "few.csv", *options, "--count", "count")
        each = document(command, "all.csv", *options)
        counted.get("columns", {}).pop("count", None)
        each.get("columns", {}).pop("count", None)
        assert counted == each
    assert document("corpus", "few.csv", "--json")["pages"] == 3
    assert main(["throughput", "1275x1650", "--count", "n", "--output-tokens", "5"]) == 2
    assert "--count n is for folders and tables" in capsys.readouterr().err
    assert main(["corpus", "few.csv", "--count", "coumt"]) == 2
    assert 'there is no column coumt; did you mean "count"?' in capsys.readouterr().err


# -- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_many_groups(tmp_path: Path, capsys: Capture) -> None:
    rows = "".join(f"{600 + number % 7},600,g{number}\n" for number in range(10_001)) + "600,600,g77\n"
    (tmp_path / "a.csv").write_text(f"width,height,g\n{rows}")
    assert main(["corpus", str(tmp_path / "a.csv"), "--by", "g"]) == 0
    out = capsys.readouterr().out
    assert "The 1,000 groups with the most pages, of 10,001; shares are of these pages." in out
    assert "\ng77 " in out and len(out.splitlines()) < 1100
    assert main(["corpus", str(tmp_path / "a.csv"), "--by", "g", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "g has 10,001 different values, and JSON lists 10,000 groups at most" in captured.err
    (tmp_path / "b.csv").write_text("width,height,g\n" + "".join(f"600,600,g{number}\n" for number in range(20_001)))
    assert main(["throughput", str(tmp_path / "b.csv"), "--by", "g", "--output-tokens", "5"]) == 2
    message = "b.csv has 20,001 different groups and layouts, and 20,000 at most are computed; group by"
    assert message in capsys.readouterr().err


# -- resume folders that are damaged ---------------------------------------------------------------------------------


def damaged_states(state: str) -> dict[str, bytes]:
    document = json.loads(state)
    cell = json.loads(state)
    cell["tally"]["pages"][0][-1] += 1
    return {
        "cut": state[:-9].encode(),
        "empty": b"",
        "list": b"[]",
        "null": b"null",
        "number": b"5",
        "deep": b"[" * 100_000,
        "no_text": b"\xff\xfe\x00",
        "other_schema": json.dumps(document | {"schema": 1}).encode(),
        "schema_alone": b'{"schema": 2}',
        "negative": json.dumps(document | {"items": -5}).encode(),
        "wrong_type": json.dumps(document | {"identity": 7}).encode(),
        "no_digest": json.dumps({key: value for key, value in document.items() if key != "digest"}).encode(),
        "a_page_more": json.dumps(cell).encode(),
        "a_digit": state.replace('"items": 1', '"items": 0').encode(),
    }


@pytest.fixture
def resumed(tmp_path: Path, load_model: Load) -> Callable[[], Any]:
    (tmp_path / "a.csv").write_text("width,height\n" + "".join(f"{600 + n},700\n" for n in range(50)))
    options = CorpusOptions(resume=tmp_path / "state", rows=tmp_path / "rows.parquet")

    def run() -> Any:
        return run_corpus([str(tmp_path / "a.csv")], load_model, options)

    run()
    return run


def test_a_state_that_is_damaged_is_refused(tmp_path: Path, resumed: Callable[[], Any]) -> None:
    path = tmp_path / "state" / "state.json"
    state = path.read_text()
    rows = (tmp_path / "rows.parquet").read_bytes()
    for name, content in damaged_states(state).items():
        assert content != state.encode(), name
        path.write_bytes(content)
        with pytest.raises(
            ModelMeterError, match=r"state\.json is no state of a corpus run \(.*\); delete it"
        ) as caught:
            resumed()
        assert len(str(caught.value)) < 600, name
        assert path.read_bytes() == content, name
    assert (tmp_path / "rows.parquet").read_bytes() == rows
    path.unlink()
    assert resumed().everything.totals.pages == 50, "begun anew"
    path.write_text(state)
    assert resumed().everything.totals.pages == 50


def test_what_is_no_state_is_never_waited_for(tmp_path: Path, resumed: Callable[[], Any]) -> None:
    path = tmp_path / "state" / "state.json"
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelMeterError, match=r"state\.json is no state .*it is no regular file"):
        resumed()
    path.rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        with pytest.raises(ModelMeterError, match=r"state\.json is no state .*it is no regular file"):
            resumed()
        path.unlink()
        (tmp_path / "state" / "lock").unlink()
        os.mkfifo(tmp_path / "state" / "lock")
        assert resumed().everything.totals.pages == 50


def test_parts_that_are_damaged_are_refused(tmp_path: Path, resumed: Callable[[], Any]) -> None:
    part = tmp_path / "state" / "rows-000000.parquet"
    whole = part.read_bytes()
    for content in (whole[:-1], whole[:9] + bytes([whole[9] ^ 1]) + whole[10:], b""):
        part.write_bytes(content)
        with pytest.raises(
            ModelMeterError, match=r"rows-000000\.parquet is gone, damaged or was edited; delete .*state"
        ):
            resumed()
    part.unlink()
    with pytest.raises(ModelMeterError, match=r"rows-000000\.parquet is gone"):
        resumed()
    part.write_bytes(whole)
    assert resumed().everything.totals.pages == 50


def test_a_command_that_meets_all_of_it_ends_in_words(tmp_path: Path) -> None:
    """In a process of its own, so that nothing but its own lines can be on standard error."""
    picture(tmp_path / "page.png")
    (tmp_path / "a.csv").write_text(table('1,5,"a', "2,5,b"))
    bad_parquet(tmp_path, "damaged_footer")
    command = [sys.executable, "-m", "modelmeter", "corpus", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (0, 2)
    assert done.stdout.startswith("2 pages from ")
    assert {line.split(":")[0] for line in done.stderr.splitlines()} == {"left out"}
