"""Where pages come from: what is read of each kind of source, what is left out, and what is refused."""

import errno
import gzip
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelmeter.corpus.sources import FILES_AT_ONCE, Item, ReadOptions, list_items, read_item
from modelmeter.errors import ModelMeterError

WritePdf = Callable[..., Path]
ROOT = Path(__file__).parents[2]


def read(*sources: object, **options: Any) -> list[dict[str, Any]]:
    chosen = ReadOptions(**options)
    return [
        row
        for item in list_items([str(source) for source in sources])
        for batch in read_item(item, chosen)
        for row in batch.to_pylist()
    ]


def sizes(rows: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Texts of the tables as numbers, so that kinds can be compared."""
    return [(row["width"] and int(row["width"]), row["height"] and int(row["height"])) for row in rows]


def image(path: Path, width: int = 4, height: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height)).save(path)
    return path


# -- folders, images, PDFs -------------------------------------------------------------------------------------------


def test_a_folder_in_the_order_of_its_names(tmp_path: Path, write_pdf: WritePdf) -> None:
    for name, width in {"b/2.png": 2, "b/10.png": 10, "a.JPG": 1, "c.webp": 3}.items():
        image(tmp_path / "in" / name, width, 9)
    write_pdf("/MediaBox [0 0 612 792]", "/MediaBox [0 0 100 50]", name="in/b/3.pdf")
    (tmp_path / "in" / "notes.txt").write_text("no page")
    (tmp_path / "in" / "sizes.csv").write_text("width,height\n1,2\n")
    rows = read(tmp_path / "in", dpi=72)
    assert [(Path(row["source"]).name, row["page_number"], row["width"], row["height"]) for row in rows] == [
        ("a.JPG", 1, 1, 9),
        ("10.png", 1, 10, 9),
        ("2.png", 1, 2, 9),
        ("3.pdf", 1, 612, 792),
        ("3.pdf", 2, 100, 50),
        ("c.webp", 1, 3, 9),
    ]
    assert {row["error"] for row in rows} == {None}


def test_files_come_in_the_order_given(tmp_path: Path) -> None:
    first, second = image(tmp_path / "z.png", 1), image(tmp_path / "a.png", 2)
    assert [row["width"] for row in read(first, second, first)] == [1, 2, 1]


def test_the_orientation_of_images_is_applied() -> None:
    path = ROOT / "examples/pages/photo_rotated.jpg"
    with Image.open(path) as stored:
        assert sizes(read(path)) == [(stored.height, stored.width)]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    image(tmp_path / "in" / "page.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    assert len(read(tmp_path / "in")) == 1


def test_unreadable_files_are_left_out_with_a_reason(tmp_path: Path, write_pdf: WritePdf) -> None:
    folder = tmp_path / "in"
    image(folder / "a.png")
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image\n")
    (folder / "broken.pdf").write_text("no pdf\n")
    (folder / "folder.png").mkdir()
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    image(folder / "z.png")
    rows = read(folder)
    assert [Path(row["source"]).name for row in rows] == [
        "a.png", "broken.pdf", "empty.png", "gone.png", "text.jpg", "z.png",
    ]  # fmt: skip
    words = [None, "is no PDF", "is empty", "does not exist", "is not an image", None]
    for row, expected in zip(rows, words, strict=True):
        assert (row["error"] is None) == (expected is None)
        assert expected is None or expected in row["error"]
        assert (row["width"] is None) == (row["error"] is not None)


def test_images_above_a_number_of_pixels(tmp_path: Path) -> None:
    image(tmp_path / "large.png", 11, 10)
    image(tmp_path / "larger.png", 100, 100)
    image(tmp_path / "small.png", 10, 10)
    before = Image.MAX_IMAGE_PIXELS
    rows = read(tmp_path, max_pixels=100)
    assert [row["width"] for row in rows] == [None, None, 10]
    for row, sides in zip(rows, ("11 x 10", "100 x 100"), strict=False):
        assert f"png has more pixels than max_pixels=100: {sides}; raise the limit" in row["error"]
    assert before == Image.MAX_IMAGE_PIXELS


def test_many_files_are_cut_into_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        image(tmp_path / f"{number}.png", number + 1)
    monkeypatch.setattr("modelmeter.corpus.sources.FILES_AT_ONCE", 2)
    items = list(list_items([str(tmp_path)]))
    assert [len(item.paths) for item in items] == [2, 2, 1]
    assert FILES_AT_ONCE > 2


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image(tmp_path / "in" / "page.png")
    image(tmp_path / "in" / "shut" / "page.png")
    scandir = os.scandir

    def refusing(folder: str) -> object:  # file permissions would not stop root
        if os.path.basename(folder) == "shut":
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    rows = read(tmp_path / "in")
    assert [row["error"] for row in rows] == [
        None,
        "cannot be listed; check its permissions, or the length of its path",
    ]


def test_groups_of_files_are_their_folders(tmp_path: Path, write_pdf: WritePdf) -> None:
    image(tmp_path / "letters" / "page.png")
    (tmp_path / "forms").mkdir()
    write_pdf("", name="forms/page.pdf")
    by_folder = {row["group"] for row in read(tmp_path, group="folder")}
    assert by_folder == {str(tmp_path / "letters"), str(tmp_path / "forms")}
    assert {row["group"] for row in read(tmp_path, group="document_type")} == {None}


def test_files_have_no_column_of_output_tokens(tmp_path: Path, write_pdf: WritePdf) -> None:
    image(tmp_path / "page.png")
    write_pdf("")
    for row in read(tmp_path, output_tokens="n"):
        assert row["error"].startswith("has no column n for its output tokens")


# -- tables ----------------------------------------------------------------------------------------------------------

TABLE = [("1275", "1650", "letter"), ("2000", "1500", "slide"), ("500", "2000", "receipt")]
CSV = "kind,width,height\n" + "".join(f"{kind},{width},{height}\n" for width, height, kind in TABLE)
JSON_LINES = "".join(
    json.dumps({"width": int(width), "kind": kind, "height": int(height)}) + "\n" for width, height, kind in TABLE
)
READ = [(1275, 1650), (2000, 1500), (500, 2000)]
GROUPS = ["letter", "slide", "receipt"]

TABLES = {
    "pages.csv": CSV.encode(),
    "pages.CSV": CSV.encode(),
    "bom.csv": b"\xef\xbb\xbf" + re.sub(r"(\w+),(\w+),(\w+)", r"\2,\1,\3", CSV).encode(),
    "crlf.csv": CSV.replace("\n", "\r\n").encode(),
    "quoted.csv": re.sub(r"(\w+)", r'"\1"', CSV).encode(),
    "spaces.csv": CSV.replace("width", " width ").encode(),
    "blank_lines.csv": CSV.replace("\n", "\n\n").encode(),
    "no_last_newline.csv": CSV.rstrip().encode(),
    "latin.csv": re.sub(r"(\w+),(\w+)", "\\1,\xe9,\\2", CSV).encode("latin-1"),
    "pages.tsv": CSV.replace(",", "\t").encode(),
    "pages.csv.gz": gzip.compress(CSV.encode()),
    "pages.jsonl": JSON_LINES.encode(),
    "pages.ndjson": JSON_LINES.replace("\n", "\n\n").encode(),
    "pages.jsonl.gz": gzip.compress(JSON_LINES.encode()),
}


@pytest.mark.parametrize("name, content", TABLES.items(), ids=TABLES)
@pytest.mark.parametrize("batch_pages", [1, 2, 100])
def test_tables(tmp_path: Path, name: str, content: bytes, batch_pages: int) -> None:
    (tmp_path / name).write_bytes(content)
    rows = read(tmp_path / name, batch_pages=batch_pages, group="kind")
    assert sizes(rows) == READ
    assert [row["group"] for row in rows] == GROUPS
    assert [row["page_number"] for row in rows] == [1, 2, 3]
    assert {row["source"] for row in rows} == {str(tmp_path / name)}
    assert {row["error"] for row in rows} == {None}


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("h,w,tokens\n5,6,7\n")
    row = read(tmp_path / "a.csv", width="w", height="h", output_tokens="tokens")[0]
    assert (row["width"], row["height"], row["output_tokens"]) == ("6", "5", "7")


@pytest.mark.parametrize("row_group_size", [None, 2, 3])
def test_parquet(tmp_path: Path, row_group_size: int | None) -> None:
    table = pa.table({"height": range(1, 8), "kind": list("aabbccd"), "width": [float(each) for each in range(11, 18)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=row_group_size)
    rows = read(tmp_path / "a.parquet", batch_pages=2, group="kind")
    assert sizes(rows) == [(each + 10, each) for each in range(1, 8)]
    assert "".join(row["group"] for row in rows) == "aabbccd"
    assert [row["page_number"] for row in rows] == list(range(1, 8))


@pytest.mark.parametrize(
    "column, groups",
    [
        (pa.array([1, None]), ["1", None]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array([True, False]), ["true", "false"]),
    ],
    ids=["numbers", "dictionary", "bools"],
)
def test_groups_of_parquet_are_texts(tmp_path: Path, column: pa.Array, groups: list[str | None]) -> None:
    pq.write_table(pa.table({"width": [1, 2], "height": [3, 4], "g": column}), tmp_path / "a.parquet")
    assert [row["group"] for row in read(tmp_path / "a.parquet", group="g")] == groups


def test_an_empty_parquet_has_no_pages(tmp_path: Path) -> None:
    pq.write_table(pa.table({"width": [1], "height": [2]}).slice(1), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == []


def test_a_glob(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_text(f"width,height\n{ord(name[0])},1\n")
    assert [row["width"] for row in read(f"{tmp_path}/*.csv")] == ["97", "98"]
    image(tmp_path / "x" / "y" / "z.png", 7)
    assert [row["width"] for row in read(f"{tmp_path}/**/*.png")] == [7]


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    (tmp_path / "[a].csv").write_text("width,height\n1,2\n")
    assert len(read(tmp_path / "[a].csv")) == 1


@pytest.mark.parametrize("content", [CSV, JSON_LINES, "\ufeff" + CSV], ids=["csv", "jsonl", "bom"])
def test_standard_input(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(content.encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert sizes(read("-", batch_pages=2)) == READ
    assert not stdin.buffer.closed


# -- damaged tables --------------------------------------------------------------------------------------------------


def test_rows_of_the_wrong_length(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("width,height\n1,2\n3\n4,5,6\n7,8\n")
    rows = read(tmp_path / "a.csv")
    assert [(row["page_number"], row["width"], row["error"]) for row in rows] == [
        (1, "1", None),
        (2, "", "has 1 fields, and the table has 2 columns"),
        (3, "", "has 3 fields, and the table has 2 columns"),
        (4, "7", None),
    ]


def test_lines_that_are_no_objects(tmp_path: Path) -> None:
    lines = ['{"width": 1, "height": 2}', "[3]", '{"width": 4', '{"height": 5}', '{"width": 6, "height": 7}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows = read(tmp_path / "a.jsonl")
    assert [row["error"] for row in rows] == [None, "is no JSON object", "is no JSON object", None, None]
    assert [row["width"] for row in rows] == ["1", None, None, None, "6"]


def test_a_compressed_table_that_is_cut_off(tmp_path: Path) -> None:
    whole = gzip.compress(("width,height\n" + "".join(f"{i},{i * 7919 % 5003}\n" for i in range(1, 3000))).encode())
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    rows = read(tmp_path / "a.csv.gz", batch_pages=100)
    assert 500 < len(rows) < 2999
    assert {row["error"] for row in rows[:-1]} == {None}
    assert re.match(rf"cannot be read after row {len(rows) - 1} \(.*end-of-stream", rows[-1]["error"])
    (tmp_path / "a.csv.gz").write_bytes(b"no gzip")
    assert "cannot be read after row 0" in read(tmp_path / "a.csv.gz")[0]["error"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_empty_table(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert [row["error"] for row in read(tmp_path / name)] == ["is empty"]


def test_a_parquet_file_without_its_end(tmp_path: Path) -> None:
    pq.write_table(pa.table({"width": [1], "height": [2]}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[:-10])
    assert "is no whole Parquet file" in read(tmp_path / "a.parquet")[0]["error"]


def test_a_parquet_file_damaged_in_its_middle(tmp_path: Path) -> None:
    columns = {"width": range(1, 10_001), "height": range(1, 10_001)}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=5000, compression="zstd")
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        start = file.metadata.row_group(1).column(1).dictionary_page_offset
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[start : start + 2000] = b"\xff" * 2000
    (tmp_path / "a.parquet").write_bytes(data)
    rows = read(tmp_path / "a.parquet")
    assert sizes(rows[:5000]) == [(each, each) for each in range(1, 5001)]
    assert "cannot be read after row 5000" in rows[-1]["error"]
    assert len(rows) == 5001


# -- wrong requests --------------------------------------------------------------------------------------------------


def refusal(*sources: object, **options: Any) -> str:
    with pytest.raises(ModelMeterError) as caught:
        read(*sources, **options)
    return str(caught.value)


def test_sources_are_checked_before_any_is_read(tmp_path: Path) -> None:
    good = image(tmp_path / "good" / "a.png")
    (tmp_path / "none").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").touch()
    wrong = {
        tmp_path / "missing.png": "missing.png does not exist; check the path",
        tmp_path / "none": "none holds no image and no PDF",
        tmp_path / "tables": r"for tables in it give a glob, as in 'folder/\*\.parquet'",
        tmp_path / "notes.txt": "notes.txt is of no known kind; give images, PDFs, or tables",
        f"{tmp_path}/*.webp": r"no file matches .*\*\.webp; check the pattern",
        f"{tmp_path}/*.txt": "notes.txt is of no known kind",
    }
    for source, message in wrong.items():
        with pytest.raises(ModelMeterError, match=message):
            list_items([str(good), str(source)])
    with pytest.raises(ModelMeterError, match="there is no source; give a folder"):
        list_items([])
    with pytest.raises(ModelMeterError, match="given twice"):
        list_items(["-", "-"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_no_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is neither a file nor a folder" in refusal(tmp_path / "pipe.csv")


def test_missing_columns_name_the_near_ones(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Widths,height\n1,2\n")
    (tmp_path / "a.jsonl").write_text('{"widht": 1, "height": 2}\n')
    pq.write_table(pa.table({"image_width": [1], "height": [2]}), tmp_path / "a.parquet")
    assert f'{tmp_path}/a.csv: there is no column width; did you mean "Widths"?' == refusal(tmp_path / "a.csv")
    assert 'there is no column width; did you mean "widht"' in refusal(tmp_path / "a.jsonl")
    assert 'there is no column width; did you mean "image_width"' in refusal(tmp_path / "a.parquet")
    assert "there is no column kind; the options are Widths, height." in refusal(
        tmp_path / "a.csv", width="Widths", group="kind"
    )
    assert "there is no column n" in refusal(tmp_path / "a.csv", width="Widths", output_tokens="n")


TABLES_AS_PEOPLE_WRITE_THEM = {
    "semicolons": ("a.csv", "width;height;kind\n1;2;x\n3;4;y\n"),
    "tabs": ("a.csv", "width\theight\tkind\n1\t2\tx\n3\t4\ty\n"),
    "commas_in_a_tsv": ("a.tsv", "width,height,kind\n1,2,x\n3,4,y\n"),
    "semicolons_and_commas": ("a.csv", '"width";"height";"kind";"a,b"\n1;2;x;"5,6"\n3;4;y;7\n'),
    "capitals": ("a.csv", "WIDTH,Height,Kind\n1,2,x\n3,4,y\n"),
    "spaces": ("a.csv", " width , height,kind \n1, 2,x\n 3,4,y\n"),
    "mark_at_the_start": ("a.csv", "\ufeffWidth;Height;Kind\r\n1;2;x\r\n3;4;y\r\n"),
    "json": ("a.jsonl", '{"Width": 1, " HEIGHT": 2, "kind": "x"}\n{"Width": 3, " HEIGHT": 4, "kind": "y"}\n'),
}


@pytest.mark.parametrize("name, text", TABLES_AS_PEOPLE_WRITE_THEM.values(), ids=TABLES_AS_PEOPLE_WRITE_THEM)
def test_separators_and_capitals_are_told_from_the_header(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    rows = [(row["width"], row["height"], row["group"]) for row in read(tmp_path / name, group="kind")]
    assert [(int(width), int(height), kind) for width, height, kind in rows] == [(1, 2, "x"), (3, 4, "y")]


def test_columns_of_parquet_go_by_any_capitals(tmp_path: Path) -> None:
    pq.write_table(pa.table({"Width": [1], "HEIGHT": [2]}), tmp_path / "a.parquet")
    (row,) = read(tmp_path / "a.parquet")
    assert (row["width"], row["height"]) == (1, 2)


def test_two_columns_that_differ_in_capitals_are_not_chosen_from(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Width,WIDTH,height\n1,2,3\n")
    assert "several columns may be width: Width, WIDTH; name one as it is written." in refusal(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("Width,width,height\n1,2,3\n")
    (row,) = read(tmp_path / "b.csv")
    assert row["width"] == "2"


def test_a_column_that_cannot_name_a_group(tmp_path: Path) -> None:
    pq.write_table(pa.table({"width": [1, 2], "height": [2, 2], "g": [[1], []]}), tmp_path / "a.parquet")
    (row,) = read(tmp_path / "a.parquet", group="g")
    assert re.fullmatch(r"column g holds list<.*>, which cannot name a group", row["error"])


def test_parquet_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"PAR1....")))
    assert refusal("-") == "corpus: Parquet cannot be read from standard input; give the file."


# -- fingerprints ----------------------------------------------------------------------------------------------------


def test_a_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    seen = []
    for content in ("1", "22", "22"):
        path.write_text(content)
        os.utime(path, ns=(0, len(seen)))
        seen.append(Item(kind="csv", paths=(str(path),)).fingerprint())
    path.unlink()
    seen.append(Item(kind="csv", paths=(str(path),)).fingerprint())
    seen.append(Item(kind="csv", paths=(str(path),), row_groups=range(1, 2)).fingerprint())
    assert len(set(seen)) == 5
