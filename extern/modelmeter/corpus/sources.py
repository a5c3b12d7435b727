"""Where the pages of a corpus come from: image files and PDFs, folders of them, and tables of sizes.

`list_items` cuts the sources into items, in an order that does not change while the files do not; `read_item` reads
one item as record batches of a bounded number of pages. What cannot be read is a row with a text in `error`, and the
rest is read: a row, a file, a table that cannot be used. Only a request that is wrong for every file (a column that is
not there, a path that does not exist, a folder without pages) raises `ModelMeterError`. Files of other kinds in folders
are counted in `Notes`.

Texts of any bytes can be kept: what is no UTF-8 in names and cells is escaped.

Of an image only the header is read, no pixel is decoded: a file cut off behind its header passes for whole.
"""

from __future__ import annotations

import base64
import csv
import fnmatch
import glob
import gzip
import io
import json
import os
import re
import sys
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TextIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelmeter.corpus.page_costs import column_named, holds_numbers
from modelmeter.errors import ModelMeterError
from modelmeter.files import encodable
from modelmeter.page_sizes import MAX_PIXELS, read_page_sizes
from modelmeter.pdf_pages import DEFAULT_DPI, read_pdf_page_sizes

STDIN: Final = "-"

#: pages of one record batch
BATCH_PAGES: Final = 1 << 16

#: image files of one item
FILES_AT_ONCE: Final = 256

#: characters of a line of a table, and of a CSV record of several lines; more are no row
LONGEST_LINE: Final = 1 << 24
LONGEST_RECORD: Final = 1 << 20

IMAGE_SUFFIXES: Final = frozenset(
    {".apng", ".avif", ".bmp", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx"}
    | {".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)

#: pictures of pages that no reader here takes: in a folder each is left out with its reason, never passed over
PICTURE_SUFFIXES: Final = frozenset(
    {".ai", ".arw", ".cr2", ".cr3", ".dcm", ".djv", ".djvu", ".dng", ".eps", ".heic", ".heif", ".hif", ".jb2", ".jbig2"}
    | {".jxl", ".jxr", ".nef", ".ora", ".pcx", ".ps", ".psb", ".psd", ".raw", ".svg", ".tga", ".xcf", ".xps"}
)
TABLE_KINDS: Final = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

#: the group of pages in files, when pages are grouped by the folder that holds them
FOLDER: Final = "folder"

#: different suffixes of files that are not read, and the longest; others are counted as `OTHER_SUFFIX`
_SUFFIXES_KEPT: Final = 100
_LONGEST_SUFFIX: Final = 12
OTHER_SUFFIX: Final = "other"


@dataclass
class Notes:
    """What readers saw and did not take: files in folders by their suffix, the first table whose `count` is unused."""

    not_read: Counter[str] = field(default_factory=Counter)
    unused_count: str | None = None

    def pass_over(self, name: str) -> None:
        """Count a file that is not read."""
        suffix = os.path.splitext(name)[1].lower()
        plain = suffix.isascii() and suffix.isprintable() and 1 < len(suffix) <= _LONGEST_SUFFIX
        known = suffix in self.not_read or len(self.not_read) < _SUFFIXES_KEPT
        self.not_read[suffix if plain and known else OTHER_SUFFIX] += 1


class _UnusableTable(Exception):
    """A table none of whose rows can be read; its text says why."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What to read of a source.

    width, height, output_tokens, group, count: columns of tables; the last three may be None. group="folder" groups
    image files and PDFs by their folder. dpi: of PDFs. max_pixels: images with more are reported, not read.
    """

    width: str = "width"
    height: str = "height"
    output_tokens: str | None = None
    group: str | None = None
    count: str | None = None
    dpi: int = DEFAULT_DPI
    max_pixels: int = MAX_PIXELS
    batch_pages: int = BATCH_PAGES


@dataclass(frozen=True, kw_only=True)
class Item:
    """A piece of a source that is read in one go: image files, a PDF, a table, or row groups of one.

    first_row: rows of the table before those of `row_groups`.
    """

    kind: str
    paths: tuple[str, ...]
    row_groups: range = range(0)
    first_row: int = 0
    error: str | None = None

    def fingerprint(self) -> str:
        """Text that changes with the names, sizes and times of its files."""
        parts = [self.kind, str(self.row_groups)]
        for path in self.paths:
            try:
                status = os.stat(path)
                parts.append(f"{path}\0{status.st_size}\0{status.st_mtime_ns}")
            except OSError:
                parts.append(f"{path}\0unreadable")
        return "\0\0".join(parts)


# -- from sources to items -------------------------------------------------------------------------------------------


def list_items(sources: Sequence[str], notes: Notes | None = None) -> Iterator[Item]:
    """The items of all sources in order; wrong sources raise before the first one is listed."""
    notes = Notes() if notes is None else notes
    if not sources:
        raise ModelMeterError("corpus: there is no source; give a folder, files, a glob, or - for standard input.")
    if list(sources).count(STDIN) > 1:
        raise ModelMeterError("corpus: standard input (-) is given twice, and can be read once.")
    for source in sources:
        if os.path.isdir(source):
            found = next(files_of(source), None)
        else:
            found = source
            for path in files_of(source):
                _kind(path)
        if found is None:
            raise ModelMeterError(
                f"corpus: folder {source} holds no image and no PDF ({', '.join(sorted(IMAGE_SUFFIXES))}, .pdf); "
                "for tables in it give a glob, as in 'folder/*.parquet'."
            )
    return _items(path for source in sources for path in files_of(source, notes))


def _items(paths: Iterable[str]) -> Iterator[Item]:
    images: list[str] = []
    for path in paths:
        kind = _kind(path)
        if kind == "image":
            images.append(path)
        if images and (kind != "image" or len(images) == FILES_AT_ONCE):
            yield Item(kind="images", paths=tuple(images))
            images = []
        if kind == "parquet":
            yield from _row_groups(path)
        elif kind == "folder":
            error = "cannot be listed; check its permissions, or the length of its path"
            yield Item(kind="unreadable", paths=(path,), error=error)
        elif kind == "picture":
            error = f"is a {_suffix(path)} file, which is not read; convert it to PNG, JPEG, TIFF or PDF"
            yield Item(kind="unreadable", paths=(path,), error=error)
        elif kind != "image":
            yield Item(kind=kind, paths=(path,))
    if images:
        yield Item(kind="images", paths=tuple(images))


def files_of(source: str, notes: Notes | None = None) -> Iterator[str]:
    """The files that a source stands for, a folder's in the order of their names; "-" for standard input.

    A folder below it that cannot be listed stands for itself, its name ending in the separator.
    """
    if source == STDIN or os.path.isfile(source):
        yield source
    elif os.path.isdir(source):
        yield from _pages_below(source, Notes() if notes is None else notes)
    elif glob.has_magic(source):
        found = False
        for path in sorted(_matches(source)):
            if os.path.isfile(path):
                found = True
                yield path
        if not found:
            raise ModelMeterError(f"corpus: no file matches {source}; check the pattern.")
    elif os.path.exists(source):
        raise ModelMeterError(f"corpus: {source} is neither a file nor a folder.")
    else:
        raise ModelMeterError(f"corpus: {source} does not exist; check the path (it is relative to {Path.cwd()}).")


def input_files(source: str, *, tables: bool = True) -> Iterator[str]:
    """What no output may replace: the files that a source stands for, and with `tables` those that lie in a folder."""
    if not os.path.isdir(source):
        yield from () if source == STDIN else files_of(source)
        return
    for folder, _, names in os.walk(source):
        for name in names:
            if _suffix(name) in {*IMAGE_SUFFIXES, *PICTURE_SUFFIXES, *(TABLE_KINDS if tables else ()), ".pdf"}:
                yield os.path.join(folder, name)


def _pages_below(folder: str, notes: Notes) -> Iterator[str]:
    """Images and PDFs below a folder, pictures of other kinds, and folders that cannot be listed; the rest is noted."""
    for path in _below(folder):
        suffix = _suffix(path)
        if suffix in PICTURE_SUFFIXES:
            notes.pass_over(path)
        if path.endswith(os.sep) or suffix in IMAGE_SUFFIXES | PICTURE_SUFFIXES | {".pdf"}:
            yield path
        elif not os.path.basename(path).startswith(".") and not os.path.isdir(path):
            notes.pass_over(path)


def _below(folder: str) -> Iterator[str]:
    """All files below a folder; a folder that cannot be listed as its name with the separator at its end.

    The names of one folder at a time are held, for each folder on the way down. Links to folders are not followed.
    """
    way: list[Iterator[os.DirEntry[str]]] = []

    def entered(path: str) -> bool:
        try:
            way.append(iter(sorted(os.scandir(path), key=lambda entry: entry.name)))
        except OSError:
            return False
        return True

    if not entered(folder):
        yield os.path.join(folder, "")
    while way:
        entry = next(way[-1], None)
        if entry is None:
            way.pop()
        elif not entry.is_dir(follow_symlinks=False):
            yield entry.path
        elif not entered(entry.path):
            yield os.path.join(entry.path, "")


def _matches(pattern: str) -> Iterator[str]:
    """The paths that a glob matches. Under ** links to folders are not followed: they may lead in circles."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root = os.path.join(*parts[:fixed]) if fixed else "."
    step = f"(?!\\.)[^{re.escape(os.sep)}]+"
    expressions = [
        f"(?:{step}{re.escape(os.sep)})*" if part == "**" else _expression(part) + re.escape(os.sep)
        for part in parts[fixed:-1]
    ]
    last = f"(?:{step}{re.escape(os.sep)})*{step}" if parts[-1] == "**" else _expression(parts[-1])
    matching = re.compile("".join([*expressions, last]))
    for path in _below(root):
        name = os.path.relpath(path, root)
        if not path.endswith(os.sep) and matching.fullmatch(name):
            yield path if fixed else name


def _expression(part: str) -> str:
    """A name in a glob as a regular expression; names that begin with a dot are matched where the glob has one."""
    expression = fnmatch.translate(part).removesuffix(r"\Z")
    return expression if part.startswith(".") else f"(?!\\.){expression}"


def _suffix(path: str) -> str:
    return os.path.splitext(path.removesuffix(".gz"))[1].lower()


def _kind(path: str) -> str:
    suffix = _suffix(path)
    if path == STDIN:
        return "stdin"
    if path.endswith(os.sep):
        return "folder"
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    if suffix == ".pdf":
        return "pdf"
    if suffix in TABLE_KINDS:
        return TABLE_KINDS[suffix]
    raise ModelMeterError(
        f"corpus: {path} is of no known kind; give images, PDFs, or tables whose names end in "
        f"{', '.join(TABLE_KINDS)} (the first four may be .gz too)."
    )


def _row_groups(path: str) -> Iterator[Item]:
    """A Parquet file by row groups; small ones together, since each item reads the file's whole footer."""
    try:
        with pq.ParquetFile(path) as file:
            rows = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    except Exception as error:  # damaged footers come with errors of many kinds
        yield Item(kind="unreadable", paths=(path,), error=f"is no whole Parquet file ({_line(error)})")
        return
    first, first_row, held = 0, 0, 0
    for number, count in enumerate(rows):
        held += count
        if held >= BATCH_PAGES or number == len(rows) - 1:
            yield Item(kind="parquet", paths=(path,), row_groups=range(first, number + 1), first_row=first_row)
            first, first_row, held = number + 1, first_row + held, 0


# -- from an item to record batches ----------------------------------------------------------------------------------


def read_item(item: Item, options: ReadOptions, notes: Notes | None = None) -> Iterator[pa.RecordBatch]:
    """The pages of an item: source, page_number (from 1), width, height, error; what else is asked for."""
    notes = Notes() if notes is None else notes
    path = item.paths[0]
    if item.kind == "images":
        yield _read_images(item.paths, options)
    elif item.kind == "pdf":
        yield _read_pdf(path, options)
    elif item.kind == "unreadable":
        yield _batch(path, [_Row(group=_folder(path, options), error=item.error)], options)
    elif item.kind == "parquet":
        yield from _read_parquet(item, options, notes)
    else:
        yield from _read_text(path, item.kind, options, notes)


class _Row(NamedTuple):
    """A page, or why there is none. count: pages that it stands for."""

    page_number: int | None = None
    width: Any = None
    height: Any = None
    group: str | None = None
    output_tokens: Any = None
    count: Any = 1
    error: str | None = None


def _batch(source: str | Sequence[str], rows: Sequence[_Row], options: ReadOptions) -> pa.RecordBatch:
    sources = [source] * len(rows) if isinstance(source, str) else source
    columns = {"source": _string_array(sources)}
    for name, values in zip(_Row._fields, zip(*rows, strict=True) if rows else ((),) * len(_Row._fields), strict=True):
        if name in ("group", "error"):
            columns[name] = _string_array(values)
        else:
            columns[name] = pa.array(values, pa.int64() if name == "page_number" else None)
    for name in ("group", "output_tokens", "count"):
        if getattr(options, name) is None:
            del columns[name]
    return pa.RecordBatch.from_pydict(columns)


def _string_array(texts: Sequence[str | None]) -> pa.Array:
    """Texts as Arrow's strings, which are UTF-8."""
    return pa.array([None if text is None else encodable(text) for text in texts], pa.string())


def _folder(path: str, options: ReadOptions) -> str | None:
    return os.path.dirname(path) or "." if options.group == FOLDER else None


def _no_tokens(options: ReadOptions) -> str | None:
    """Files have no columns: with output tokens from one, none of their pages can be counted."""
    if options.output_tokens is None:
        return None
    return f"has no column {options.output_tokens} for its output tokens; give their number, or a table"


def _read_images(paths: Sequence[str], options: ReadOptions) -> pa.RecordBatch:
    sources: list[str] = []
    rows: list[_Row] = []
    for path in paths:
        group = _folder(path, options)
        try:
            sizes = read_page_sizes(path, decode=False, max_pixels=options.max_pixels)
            found = [
                _Row(number, size.width, size.height, group, error=_no_tokens(options))
                for number, size in enumerate(sizes, start=1)
            ]
        except ModelMeterError as error:
            found = [_Row(group=group, error=str(error))]
        rows += found
        sources += [path] * len(found)
    return _batch(sources, rows, options)


def _read_pdf(path: str, options: ReadOptions) -> pa.RecordBatch:
    group = _folder(path, options)
    try:
        sizes = read_pdf_page_sizes(path, options.dpi)
    except ModelMeterError as error:
        return _batch(path, [_Row(group=group, error=str(error))], options)
    reason = _no_tokens(options)
    rows = [_Row(number, size.width, size.height, group, error=reason) for number, size in enumerate(sizes, 1)]
    return _batch(path, rows, options)


def _read_parquet(item: Item, options: ReadOptions, notes: Notes) -> Iterator[pa.RecordBatch]:
    (path,) = item.paths
    try:
        with pq.ParquetFile(path) as file:
            _check_schema(file)
            names = _column_names(path, file.schema_arrow.names, options, notes)
            for name in names[:2]:
                _check_numbers(name, file.schema_arrow.field(name).type)
            yield from _parquet_batches(path, file, item.row_groups, item.first_row, names, options)
    except ModelMeterError:
        raise
    except _UnusableTable as error:
        if not item.first_row:  # once for the table, not for each of its pieces
            yield _batch(path, [_Row(error=str(error))], options)
    except Exception as error:  # damaged data comes with errors of many kinds
        yield _batch(path, [_Row(error=f"cannot be read after row {item.first_row} ({_line(error)})")], options)


def _parquet_batches(
    path: str, file: pq.ParquetFile, groups: range, first_row: int, names: Sequence[str], options: ReadOptions
) -> Iterator[pa.RecordBatch]:
    """Row groups together, since they may be small; where one is damaged, what is left of them one by one."""
    row = first_row
    try:
        for batch in file.iter_batches(
            options.batch_pages, row_groups=list(groups), columns=sorted(set(names)), use_threads=False
        ):
            numbers = pa.array(np.arange(row + 1, row + batch.num_rows + 1, dtype=np.int64))
            asked = [_legible(batch.column(name)) for name in names]
            yield _table_batch(path, numbers, asked, pa.nulls(batch.num_rows, pa.string()), options)
            row += batch.num_rows
        return
    except _UnusableTable:
        raise
    except Exception as error:  # damaged data comes with errors of many kinds
        if len(groups) == 1:
            yield _batch(path, [_Row(error=f"cannot be read after row {row} ({_line(error)})")], options)
            return
    for number in groups:
        rows = file.metadata.row_group(number).num_rows
        read = max(0, row - first_row)
        if read < rows:
            for batch in _parquet_batches(path, file, range(number, number + 1), first_row, names, options):
                fresh = batch.slice(read)
                read = max(0, read - batch.num_rows)
                if fresh.num_rows:
                    yield fresh
        first_row += rows


def _check_schema(file: pq.ParquetFile) -> None:
    """Refuse a file whose columns have other names than Arrow noted when it wrote them: a damaged name is no column."""
    noted = (file.metadata.metadata or {}).get(b"ARROW:schema")
    if noted is not None:
        names = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(noted))).names
        if names != file.schema_arrow.names:
            raise _UnusableTable("has a damaged schema: two lists of its columns differ")


def _check_numbers(name: str, type_: pa.DataType) -> None:
    if not holds_numbers(type_):
        raise _UnusableTable(f"column {name} holds {_cut(type_)}, not numbers")


def _table_batch(
    path: str, numbers: pa.Array, asked: Sequence[pa.Array], errors: pa.Array, options: ReadOptions
) -> pa.RecordBatch:
    """The columns `asked`, which stand in the order of `_column_names`, under the names of an item's batches."""
    width, height, *rest = asked
    columns = {"source": pa.repeat(encodable(path), len(numbers)), "page_number": numbers}
    columns |= {"width": width, "height": height}
    if options.group is not None:
        columns["group"] = _texts(rest.pop(0), options.group)
    for name in ("output_tokens", "count"):
        if getattr(options, name) is not None:
            columns[name] = rest.pop(0)
    return pa.RecordBatch.from_pydict(columns | {"error": errors})


def _legible(column: pa.Array) -> pa.Array:
    """A column whose texts are UTF-8; Parquet may hold other bytes, which are escaped."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            texts = column.cast(pa.large_binary()).to_pylist()
            texts = [None if text is None else text.decode("utf-8", "backslashreplace") for text in texts]
            return pa.array(texts, pa.string())
    return column


def _texts(column: pa.Array, name: str) -> pa.Array:
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowException as error:
        raise _UnusableTable(f"column {name} holds {_cut(column.type)}, which cannot name a group") from error


def _column_names(path: str, names: Sequence[str], options: ReadOptions, notes: Notes) -> list[str]:
    """The columns to read: width, height, then group, output tokens and count where they are asked for."""
    asked = (options.width, options.height, options.group, options.output_tokens, options.count)
    columns = [column_named(names, name, path) for name in asked if name is not None]
    for name in columns:
        if names.count(name) > 1:
            raise _UnusableTable(f"has {names.count(name)} columns {name}; rename all but one")
    if options.count is None and notes.unused_count is None:
        unused = (name for name in names if name.strip().casefold() == "count" and name not in columns)
        notes.unused_count = path if next(unused, None) is not None else None
    return columns


def _read_text(path: str, kind: str, options: ReadOptions, notes: Notes) -> Iterator[pa.RecordBatch]:
    """A table of text: its rows in batches, and what broke off their reading as a last row."""
    try:
        opened = _opened(path)
    except OSError as error:
        yield _batch(path, [_Row(error=f"cannot be opened ({error.strerror})")], options)
        return
    row = 0
    with opened as stream:
        try:
            for batch in _text_batches(path, kind, stream, options, notes):
                yield batch
                row += batch.num_rows
        except _UnusableTable as error:
            yield _batch(path, [_Row(error=str(error))], options)
        except _DAMAGE as error:
            yield _batch(path, [_Row(error=f"cannot be read after row {row} ({_line(error)})")], options)


def _opened(path: str) -> AbstractContextManager[BinaryIO]:
    if path == STDIN:
        return nullcontext(sys.stdin.buffer)
    return cast(BinaryIO, gzip.open(path)) if path.endswith(".gz") else open(path, "rb")


def _text_batches(
    path: str, kind: str, stream: BinaryIO, options: ReadOptions, notes: Notes
) -> Iterator[pa.RecordBatch]:
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
    lines = _Lines(text)
    try:
        first = next(lines, "")
        if not first:
            yield _batch(path, [_Row(error="is empty")], options)
            return
        if kind == "stdin":
            if first.startswith("PAR1"):
                raise ModelMeterError("corpus: Parquet cannot be read from standard input; give the file.")
            kind = "jsonl" if first.lstrip().startswith("{") else "csv"
        lines.give_back([first])
        if kind == "csv":
            yield from _read_csv(path, lines, _delimiter(path, first, options), options, notes)
        else:
            for rows in _in_lists(_json_rows(path, lines, options, notes), options.batch_pages):
                yield _batch(path, rows, options)
    finally:
        text.detach()  # standard input is not ours to close


def _delimiter(path: str, header: str, options: ReadOptions) -> str:
    """What separates the columns of a CSV table: the first of these by which its header has those asked for."""
    delimiters = ("\t", ",", ";") if _suffix(path) == ".tsv" else (",", ";", "\t")
    for delimiter in delimiters:
        try:
            names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
            _column_names(path, names, options, Notes())
        except (ModelMeterError, _UnusableTable, csv.Error):
            continue
        return delimiter
    return delimiters[0]


class _TooLong(Exception):
    """A line, or a CSV record, is too long to be one."""


class _Lines:
    """The lines of a stream, none longer than `LONGEST_LINE`, and those of the CSV record that is being read."""

    def __init__(self, text: TextIO) -> None:
        self.text = text
        self.waiting: deque[str] = deque()
        self.record: list[str] = []
        self.length = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.waiting.popleft() if self.waiting else self.text.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        if len(line) == LONGEST_LINE:
            raise _TooLong(f"a line is longer than {LONGEST_LINE:,} characters")
        self.record.append(line)
        self.length += len(line)
        if self.length > LONGEST_RECORD and len(self.record) > 1:
            raise csv.Error(f"a record is longer than {LONGEST_RECORD:,} characters")
        return line

    def start(self) -> None:
        """Begin a record."""
        self.record = []
        self.length = 0

    def give_back(self, lines: Sequence[str]) -> None:
        """Read these again."""
        self.waiting.extendleft(reversed(lines))
        self.start()


#: what decompression and parsing raise where a file is damaged
_DAMAGE: Final = (OSError, EOFError, zlib.error, csv.Error, _TooLong)


def _in_lists(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """`size` rows at a time; what was read before a damaged place comes before its error."""
    some: list[Any] = []
    try:
        for row in rows:
            some.append(row)
            if len(some) == size:
                yield some
                some = []
    except _DAMAGE:
        if some:
            yield some
        raise
    if some:
        yield some


def _read_csv(path: str, lines: _Lines, delimiter: str, options: ReadOptions, notes: Notes) -> Iterator[pa.RecordBatch]:
    records = _records(lines, delimiter)
    header = [name.strip() for name in next(records, ([], None))[0]]
    places = [header.index(name) for name in _column_names(path, header, options, notes)]
    blank = [""] * len(header)
    number = 0
    for some in _in_lists(_whole_records(records, lines, len(header), places), options.batch_pages):
        numbers = range(number + 1, number + len(some) + 1)
        number += len(some)
        rows = [blank if error else row for row, error in some]
        asked = [pa.array([row[place] for row in rows], pa.string()) for place in places]
        errors = pa.array([error for _, error in some], pa.string())
        yield _table_batch(path, pa.array(numbers, pa.int64()), asked, errors, options)


#: a row of a CSV table, and why it cannot be used
_Record = tuple[list[str], str | None]


def _records(lines: _Lines, delimiter: str) -> Iterator[_Record]:
    """The rows of a CSV table but empty ones.

    A quote that opens and is not closed by the rules of CSV runs on over the lines behind it, to the end of the file:
    then its line alone is bad, and those behind it are read anew. Within one line quotes may break the rules.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.start()
        try:
            row = next(reader, None)
        except csv.Error as error:
            first, *behind = lines.record
            if behind or "unexpected end of data" in str(error):
                lines.give_back(behind)
                yield [], _UNCLOSED
                continue
            try:
                row = next(csv.reader([first], delimiter=delimiter))
            except csv.Error:
                yield [], f"is no row of a CSV table ({_line(error)})"
                continue
        if row is None:
            return
        if row:
            yield row, None


_UNCLOSED: Final = "opens a quote that is not closed; this line alone is left out"


def _whole_records(records: Iterator[_Record], lines: _Lines, columns: int, places: Sequence[int]) -> Iterator[_Record]:
    """Rows of `columns` fields.

    A row of several lines with another number of fields, or with a line's end in a field of `places`, is taken for an
    unclosed quote that some later quote closed.
    """
    for row, error in records:
        behind = lines.record[1:]
        if error is not None:
            yield row, error
        elif behind and (len(row) != columns or any("\n" in row[place] or "\r" in row[place] for place in places)):
            lines.give_back(behind)
            yield [], _UNCLOSED
        elif len(row) != columns:
            yield [], f"has {len(row)} fields, and the table has {columns} columns"
        else:
            yield row, None


def _json_rows(path: str, lines: _Lines, options: ReadOptions, notes: Notes) -> Iterator[_Row]:
    columns: list[str] = []
    number = 0
    for line in lines:
        lines.start()
        if not line.strip():
            continue
        number += 1
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            yield _Row(number, count=None, error="is no JSON object")  # not 1: the other rows have texts
            continue
        if not columns:
            columns = _column_names(path, list(row), options, notes)
        width, height, *rest = (_text(row.get(name)) for name in columns)
        asked = (options.group, options.output_tokens, options.count)
        yield _Row(number, width, height, *(None if name is None else rest.pop(0) for name in asked))


def _text(value: object) -> str | None:
    return None if value is None else encodable(str(value))


def _cut(value: object) -> str:
    """A type in a message."""
    text = str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
