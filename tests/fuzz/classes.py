"""The classes of cases that run in this process: each makes a case, with its files, in the working directory."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.fuzz import good, mutations, oracle
from tests.fuzz.judge import REFUSED, RIGHT, Answer, Case, Check, Maker
from tests.fuzz.mutations import chosen

MAX_SIDE: Final = 2**31 - 1
MODES: Final = ("tiny", "small", "base", "large", "gundam", "gundam_m")


def _page_check(answer: Answer) -> str | None:
    return oracle.page_fault(answer.json())


def _size(chance: random.Random) -> str:
    most = chance.choice((640, 5000, 5000, MAX_SIDE))
    return f"{chance.randint(1, most)}x{chance.randint(1, most)}"


# -- overrides -------------------------------------------------------------------------------------------------------

#: overrides of which every combination is a model that can be walked
SAFE: Final[Mapping[str, Sequence[str]]] = {
    "workload": MODES,
    "execution": ("transformers", "published", "vllm", "sglang", "serving"),
    "runtime.attention": ("flash", "eager"),
    "runtime.dtype": ("bfloat16", "float16", "float32"),
    "runtime.batch_size": ("1", "2", "3", "17"),
    "runtime.prompt_tokens": ("0", "1", "10", "500"),
    "runtime.head": ("last", "all", "none", "null"),
    "runtime.experts_hit": ("max", "uniform", "6", "64"),
    "decoder.num_hidden_layers": ("1", "2", "12", "40"),
    "decoder.vocab_size": ("1", "1000", "129280"),
    "decoder.intermediate_size": ("1", "100", "6848"),
    "vision.sam.depth": ("12", "14"),
    "vision.clip.num_layers": ("1", "3", "24"),
}


def _any_value(chance: random.Random, old: Any) -> str:
    if isinstance(old, bool):
        return chance.choice(("true", "false", "1", "yes", "null", "True", '"true"'))
    kind = chance.randrange(5)
    if kind == 0 and isinstance(old, int):
        return str(chance.choice((old + 1, old - 1, old * 2, old // 2, -old, 0, 1, 2, 3, 1000, 10**6, 10**9)))
    if kind < 2 and isinstance(old, int):
        return str(chance.randint(0, max(2 * old, 4)))
    if kind == 2:
        return chance.choice(("[]", "[1]", "{a:1}", "[[[[[[[[[[1]]]]]]]]]]", "1,2", "choice(1,2)", "range(1,5)", "???"))
    if kind == 3:
        return str(chance.choice(mutations.NUMBERS))[:400]
    return str(chance.choice(mutations.TEXTS))


@cache
def _keys() -> tuple[tuple[str, Any], ...]:
    """(key, default) of the whole configuration, from a saved result."""
    flat: list[tuple[str, Any]] = []

    def walk(prefix: str, node: Any) -> None:
        for name, inner in node.items():
            if isinstance(inner, dict):
                walk(f"{prefix}{name}.", inner)
            else:
                flat.append((f"{prefix}{name}", inner))

    walk("", json.loads(good.result_texts()[0])["configuration"])
    return tuple(flat)


def _override(chance: random.Random) -> str:
    key, old = chance.choice(_keys())
    kind = chance.randrange(8)
    if kind < 5:
        return f"{key}={_any_value(chance, old)}"
    if kind == 5:
        return f"{chance.choice(('workload', 'execution', 'vision', 'decoder', 'runtime'))}={_any_value(chance, old)}"
    if kind == 6:
        return f"{chance.choice(('', ' ', '.', 'runtime', 'x'))}{key}{chance.choice(('', 's', '.x', '@a', '/b'))}=1"
    prefix = chance.choice(("+", "++", "~", "hydra.", "hydra/", "+hydra.", "'hydra'.", "@", "$"))
    return f"{prefix}{chance.choice((key, 'searchpath', 'run.dir', 'launcher', 'job.chdir'))}={_any_value(chance, old)}"


FORBIDDEN: Final = (
    "hydra.searchpath=[pkg://evilmod]",
    "hydra/launcher=evilmod",
    "+hydra.searchpath=[pkg://evilmod]",
    "++runtime.x=1",
    "~runtime.batch_size",
    "runtime.prompt=${oc.env:FUZZ_SECRET}",
    "runtime.batch_size=${oc.decode:1}",
    "decoder.num_hidden_layers=100000000",
    "vision.sam.depth=-1",
    "vision.sam.in_chans=-7",
    "vision.sam.window_size=0",
    "vision.sam.num_heads=0",
    "vision.sam.global_attn_indexes=[99]",
    "vision.sam.downsample_channels=[]",
    "runtime.reserve_bytes=-5",
    "runtime.batch_size=0",
    "runtime.prompt=x",
    "workload.max_num=100000",
    "workload=evilmod",
)


def overrides(chance: random.Random) -> Case:
    """Keys and values of the configuration, on the command line of every command that takes them."""

    def safe() -> Case:
        keys = chance.sample(sorted(SAFE), chance.randint(1, 3))
        given = [f"{key}={chance.choice(SAFE[key])}" for key in keys]
        if "runtime.attention=eager" in given:  # an engine has no eager attention
            given = [each for each in given if each not in ("execution=vllm", "execution=sglang", "execution=serving")]
        if {"execution=published", "runtime.dtype=float32"} <= set(given):  # FlashAttention 2 has half precision alone
            given.remove("execution=published")
        arguments = ["page", _size(chance), *given, "--json"]
        steps = chance.choice((0, 1, 100))
        return Case(arguments=[*arguments, "--output-tokens", str(steps)], expected=RIGHT, check=_page_check)

    def some() -> Case:
        given = [_override(chance) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
        return Case(arguments=["page", _size(chance), *given, "--json"], check=_page_check)

    def forbidden() -> Case:
        given = [chance.choice(FORBIDDEN)]
        if chance.random() < 0.3:
            given.insert(chance.randrange(2), f"decoder.vocab_size={chance.randint(1, 4)}")
        command = chance.choice((["page"], ["page"], ["modes"], ["throughput", "--output-tokens", "5"], ["corpus"]))
        if command == ["corpus"]:
            Path("t.csv").write_text("width,height\n5,5\n")
        source = "t.csv" if command == ["corpus"] else "5x5"
        return Case(arguments=[*command, source, *given], expected=REFUSED)

    def sides() -> Case:
        one, other = (",".join(_override(chance) for _ in range(chance.choice((1, 2)))) for _ in range(2))
        if chance.random() < 0.5:
            one = f"workload={chance.choice(MODES)}"
        return Case(arguments=["diff", _size(chance), "--a", one, "--b", other, "--json"])

    def other_commands() -> Case:
        command = chance.choice((["modes"], ["throughput", "--output-tokens", "5", "--device", "H100-SXM"], ["corpus"]))
        if command == ["corpus"]:
            Path("t.csv").write_text("width,height\n1275,1650\n")
        source = "t.csv" if command == ["corpus"] else _size(chance)
        return Case(arguments=[*command, source, _override(chance), "--json"])

    case: Case = chosen(chance, (6, safe), (60, some), (20, forbidden), (8, sides), (6, other_commands))
    return case


# -- sizes and page inputs -------------------------------------------------------------------------------------------

BAD_SIZES: Final = (
    *("0x5", "5x0", "-1x5", "5x-1", "1.5x5", "5x1.5", "2147483648x5", "5x99999999999999999999", "0x0", "+0x1", "-0x1"),
    *("5x" + "9" * 6000, "000x1", "9" * 4000 + "x5", "5x5x", "5x5x5", "1275", "x", "5x", "x5", "١x٥", "1275 by 1650"),
    *("A7", "A4@", "A4@0", "A4@99999", "A4@-1", "@200", "letter@2.5", "letter@letter", "A4@" + "9" * 6000, "1275××5"),
)


#: name, width and height in inches
PAPERS_IN_INCHES: Final = (
    ("letter", "8.5", "11"),
    ("legal", "8.5", "14"),
    ("tabloid", "11", "17"),
    ("A4", "2100/254", "2970/254"),
    ("A3", "2970/254", "4200/254"),
    ("A0", "8410/254", "11890/254"),
)


def _strange_name(chance: random.Random) -> str:
    return chance.choice(
        (
            "a\x1b[31m.png",
            "a\nb.png",
            "\udcff.png",
            "a b.png",
            "=.png",
            "workload=x.png",
            "é.png",
            "\u202egnp.png",
            "-x.png",
        )
    )


def sizes(chance: random.Random) -> Case:
    """Sizes as text, what is no page at all, and the options of the commands that take pages."""

    def well() -> Case:
        given = [_size(chance) for _ in range(chance.choice((1, 1, 2, 5)))]
        steps = chance.choice((0, 0, 1, 1000, 6000))
        arguments = ["page", *given, "--json", "--output-tokens", str(steps)]

        def check(answer: Answer) -> str | None:
            found = [f"{page['width']}x{page['height']}" for page in answer.json()["pages"]]
            return _page_check(answer) if found == given else f"{found}, expected {given}"

        return Case(arguments=arguments, expected=RIGHT, check=check, repeat=chance.random() < 0.1)

    def text() -> Case:
        command = chance.choice((["page"], ["page", "--exact"], ["modes"], ["devices", "T4"], ["devices"]))
        given = [_size(chance)] if command[0] != "devices" else []
        return Case(arguments=[*command, *given], expected=RIGHT, repeat=True)

    def bad() -> Case:
        given = [_size(chance) for _ in range(chance.choice((0, 0, 1)))]
        given.insert(chance.randrange(len(given) + 1), chance.choice(BAD_SIZES))
        command = chance.choice(
            (["page"], ["page"], ["modes"], ["diff", "--a", "workload=base", "--b", "workload=tiny"])
        )
        return Case(arguments=[*command, *given, *chance.choice(([], ["--json"]))], expected=REFUSED)

    def spelled() -> Case:
        width, height = _size(chance).split("x")
        sign = chance.choice(("x", "X", "×", "*", " x ", " × ", "  * "))
        spelling = f"{chance.choice(('', '+', '0', ' '))}{width}{sign}{height}{chance.choice(('', ' ', chr(10)))}"

        def check(answer: Answer) -> str | None:
            (page,) = answer.json()["pages"]
            found = page["width"], page["height"]
            return _page_check(answer) if found == (int(width), int(height)) else f"{found} of {spelling!r}"

        return Case(arguments=["page", spelling, "--json"], expected=RIGHT, check=check)

    def paper() -> Case:
        name, *inches = chance.choice(PAPERS_IN_INCHES)
        dpi = chance.choice((1, 72, 96, 144, 150, 200, 300, 10_000, chance.randint(1, 10_000)))
        written = "".join(chance.choice((letter.lower(), letter.upper())) for letter in name)
        given = chance.choice(([f"{written}@{dpi}"], [f"{written}@{dpi}dpi"], [written, "--dpi", str(dpi)]))
        exact = [Fraction(side) * dpi for side in inches]

        def check(answer: Answer) -> str | None:
            (page,) = answer.json()["pages"]
            found = page["width"], page["height"]
            near = all(abs(pixels - side) <= Fraction(1, 2) for pixels, side in zip(found, exact, strict=True))
            return _page_check(answer) if near else f"{found} of {given}"

        return Case(arguments=["page", *given, "--json"], expected=RIGHT, check=check)

    def parts() -> Case:
        width, height = _size(chance).split("x")
        given = chance.choice(
            ([width, "x", height], [width, height], [f"{width}x", height], [width, f"×{height}"], [f"{width},{height}"])
        )
        return Case(arguments=[chance.choice(("page", "modes")), *given], expected=REFUSED)

    def no_page() -> Case:
        kind = chance.randrange(8)
        name = _strange_name(chance)
        if kind == 0:
            os.mkdir(name)
        elif kind == 1:
            os.mkfifo(name)
        elif kind == 2:
            os.symlink(name, name)
        elif kind == 3:
            Path(name).touch()
        elif kind == 4:
            name = chance.choice(("/dev/null", "/dev/zero", "/dev/stdin", ".", "..", "", "/proc/self/mem"))
        elif kind == 5:
            name = chance.choice(mutations.TEXTS) + chance.choice((".png", ".pdf", ".csv", ""))
        elif kind == 6:
            name = "n" * chance.choice((255, 256, 5000)) + ".png"
        command = chance.choice(("page", "page", "modes", "throughput", "report", "corpus", "devices", "diff"))
        return Case(arguments=[command, name if not name.startswith("-") else f"./{name}"], expected=REFUSED)

    def options() -> Case:
        name = chance.choice(("--output-tokens", "--dpi", "--model", "--max-pixels", "--price", "--batch", "--device"))
        command = chance.choice(("page", "page", "modes", "throughput", "diff", "corpus", "report", "devices"))
        value = chance.choice(
            (str(chance.choice(mutations.NUMBERS)), str(chance.choice(mutations.TEXTS)), "800:1e99999999,5:1")
        )
        given = [command, _size(chance), name, value]
        if chance.random() < 0.2:
            given.insert(
                chance.randrange(5), chance.choice(("--", "--nothing", "-", "-x", "--json=1", "--top=0", "--by"))
            )
        if command == "report":
            given += ["-o", "r.json"]
        return Case(arguments=given, outputs=("r.json",))

    def words() -> Case:
        count = chance.choice((0, 1, 1, 2, 3))
        pool = ("page", "pge", "verify", "5x5", "--help", "--version", "-h", *mutations.TEXTS)
        given = [chance.choice(pool) for _ in range(count)]
        if "verify" in given[:1]:  # it measures, for seconds
            given = ["verify", "nothing", *given[1:]]
        return Case(arguments=given)

    def reports() -> Case:
        name = chance.choice(("r.json", "r.html", "r.md"))
        return Case(arguments=["report", _size(chance), "-o", name], expected=RIGHT, outputs=(name,))

    def overwriting() -> Case:
        content = good.image("png", "RGB", (37, 23), 0)
        Path("in.png").write_bytes(content)
        os.mkdir("in")
        Path("in/a.png").write_bytes(content)
        os.link("in.png", "same.png")
        os.symlink("in.png", "link.png")
        Path("my.yaml").write_text(good.device_texts()[0])
        given, output = chance.choice(
            (
                (["in.png"], "in.png"),
                (["in.png"], "same.png"),
                (["in.png"], "link.png"),
                (["in.png"], "./in.png"),
                (["in"], "in/a.png"),
                (["5x5", "--device", "my.yaml"], "my.yaml"),
                (["5x5"], "in"),
                (["5x5"], "."),
                (["5x5"], "my.yaml/x"),
            )
        )
        arguments = ["report", *given, "-o", output, "--format", chance.choice(("json", "html", "markdown"))]
        return Case(arguments=arguments, expected=REFUSED)

    case: Case = chosen(
        chance,
        *(
            (300, well),
            (60, text),
            (200, bad),
            (60, spelled),
            (30, paper),
            (20, parts),
            (120, no_page),
            (150, options),
            (80, words),
        ),
        *((2, reports), (20, overwriting)),
    )
    return case


# -- images ----------------------------------------------------------------------------------------------------------


def images(chance: random.Random) -> Case:
    """Image files of every format that is read, whole and damaged, and of formats that are not read."""
    suffix = chance.choice(sorted(good.IMAGE_KINDS))
    _, modes = good.IMAGE_KINDS[suffix]
    size = chance.choice(good.IMAGE_SIZES)
    mode, orientation = chance.choice(modes), chance.choice((0, 0, 1, 3, 6, 8))
    frames = chance.choice((1, 1, 1, 3))
    name = f"a.{suffix}" if chance.random() < 0.8 else f"a.{chance.choice(('png', 'jpg', 'pdf', 'eps', 'x'))}"

    def whole() -> Case:
        turned = orientation in (6, 8) and suffix in ("png", "jpg", "tiff", "webp")
        expected = size[::-1] if turned else size
        os_name = f"a.{suffix}"
        Path(os_name).write_bytes(good.image(suffix, mode, size, orientation))

        def check(answer: Answer) -> str | None:
            (page,) = answer.json()["pages"]
            found = page["width"], page["height"]
            return _page_check(answer) if found == expected else f"{found}, expected {expected}"

        return Case(arguments=["page", os_name, "--json"], expected=RIGHT, check=check)

    def damaged() -> Case:
        Path(name).write_bytes(mutations.data(chance, good.image(suffix, mode, size, orientation, frames)))
        return Case(arguments=["page", name, *chance.choice((["--json"], ["--json"], []))], check=_if_json(_page_check))

    def foreign() -> Case:
        kind = chance.choice(sorted(good.FOREIGN))
        content = good.FOREIGN[kind]
        if chance.random() < 0.3:
            content = mutations.data(chance, content)
        name = f"e.{chance.choice((kind, 'png', 'tiff', 'jpg'))}"
        Path(name).write_bytes(content)
        return Case(arguments=["page", name, "--json"], expected=REFUSED)

    def large() -> Case:
        width, height = (chance.choice((1, 5000, 60000, 2**16, 2**31 - 1, 2**32 - 1)) for _ in range(2))
        Path("a.png").write_bytes(good.png_that_claims(width, height))
        limit = chance.choice(([], ["--max-pixels", "10"], ["--max-pixels", str(10**18)]))
        decodable = width * height <= 10**8  # else pixels that are not there would take gigabytes
        return Case(arguments=["page", "a.png", *(limit if decodable else [])])

    def folder() -> Case:
        os.mkdir("in")
        count = chance.randint(1, 6)
        for number in range(count):
            content = good.image(suffix, mode, size, orientation)
            Path(f"in/{number}.{suffix}").write_bytes(content if number % 2 else mutations.data(chance, content))
        Path("in/notes.txt").write_text("x")

        def check(answer: Answer) -> str | None:
            document = answer.json()
            found = document["pages"] + document["left_out"]["pages"]
            return None if found >= count else f"{found} pages of {count} files"

        return Case(arguments=["corpus", "in", "--json"], check=check)

    case: Case = chosen(chance, (20, whole), (60, damaged), (10, foreign), (5, large), (6, folder))
    return case


def _if_json(check: Check) -> Check:
    return lambda answer: check(answer) if answer.out.startswith("{") else None


# -- PDFs ------------------------------------------------------------------------------------------------------------

BOXES: Final = (
    *(
        "[0 0 612 792]",
        "[0 0 595.276 841.89]",
        "[10 10 5 5]",
        "[0 0 0 0]",
        "[0 0 1e9 1e9]",
        "[0 0 -5 5]",
        "[]",
        "5",
        "null",
    ),
    *(
        "[0 0 1 1]",
        "[0 0 14400 14400]",
        "[0 0 99999999999999999999 1]",
        "[a b c d]",
        "[0 0 nan 5]",
        "[0 0 612]",
        "9 0 R",
    ),
)


def pdfs(chance: random.Random) -> Case:
    """PDFs with good and strange boxes, damaged ones, and resolutions."""

    def page() -> str:
        box = chance.choice(BOXES[:2] if chance.random() < 0.6 else BOXES)
        rest = chance.choice(
            ("", "", "/Rotate 90", "/Rotate 45", "/Rotate -90", "/UserUnit 10", "/CropBox [5 5 50 60]")
        )
        return f"/MediaBox {box} {rest}"

    def whole() -> Case:
        count = chance.choice((1, 1, 2, 7))
        dpi = chance.choice((72, 144, 144, 150, 300))
        points = [(chance.randint(1, 2000), chance.randint(1, 2000)) for _ in range(count)]
        Path("a.pdf").write_bytes(good.pdf([f"/MediaBox [0 0 {width} {height}]" for width, height in points]))

        def pixels(length: int) -> int:
            return -(-length * dpi // 72)

        def check(answer: Answer) -> str | None:
            expected = [(pixels(width), pixels(height)) for width, height in points]
            found = [(page["width"], page["height"]) for page in answer.json()["pages"]]
            return _page_check(answer) if found == expected else f"{found}, expected {expected}"

        return Case(arguments=["page", "a.pdf", "--json", "--dpi", str(dpi)], expected=RIGHT, check=check)

    def strange() -> Case:
        pages = [page() for _ in range(chance.choice((1, 1, 2, 5)))]
        inherited = chance.choice(("", "/MediaBox [0 0 100 200]", "/Rotate 90"))
        content = good.pdf(pages, inherited, chance.choice(("", "/Encrypt 1 0 R", "/Prev 5")))
        if chance.random() < 0.6:
            content = mutations.data(chance, content)
        name = chance.choice(("a.pdf", "a.pdf", "a.png", "a"))
        Path(name).write_bytes(content)
        command = chance.choice((["page"], ["page"], ["corpus"], ["modes"]))
        return Case(arguments=[*command, name, *chance.choice(([], ["--json"], ["--dpi", "10000"]))])

    case: Case = chosen(chance, (1, whole), (3, strange))
    return case


# -- tables ----------------------------------------------------------------------------------------------------------

BAD_CELLS: Final = (
    "",
    "0",
    "595,28",
    "1,275",
    "-5",
    "abc",
    "99999999999",
    "nan",
    "inf",
    "1e400",
    "\x1b[31m",
    "2147483648",
    "é",
)
STRANGE_CELLS: Final = (
    *BAD_CELLS,
    "1.5",
    " 5 ",
    "5.0",
    "1e3",
    "+5",
    "1_0",
    "٥",
    '"',
    "'5'",
    "5\n6",
    "\0",
    "{}",
    "=1+1",
    "true",
)


def _rows(chance: random.Random, cells: Sequence[str], share: float) -> list[list[str]]:
    """Rows of width, height, kind and n; a share of them with one of some cells as a side."""
    rows = []
    for _ in range(chance.choice((1, 3, 20, 60))):
        sides = [str(chance.randint(1, 4000)), str(chance.randint(1, 4000))]
        if chance.random() < share:
            sides[chance.randrange(2)] = chance.choice(cells)
        rows.append([*sides, chance.choice("abc"), str(chance.randint(1, 9))])
    return rows


def _is_page(row: Sequence[str]) -> bool:
    return all(cell.isascii() and cell.isdecimal() and 1 <= int(cell) <= MAX_SIDE for cell in row[:2])


HEADER: Final = ("width", "height", "kind", "n")


def _table(kind: str, rows: Sequence[Sequence[str]], delimiter: str, header: Sequence[str]) -> bytes:
    import csv

    if kind.startswith("jsonl"):
        lines = [json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) for row in rows]
        content = "".join(f"{line}\n" for line in lines).encode(errors="surrogatepass")
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [[row[place].encode(errors="replace").decode() for row in rows] for place in range(len(HEADER))]
        file = io.BytesIO()
        pq.write_table(pa.table(dict(zip(header, columns, strict=True))), file, row_group_size=7)
        return file.getvalue()
    else:
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows([header, *rows])
        content = text.getvalue().encode(errors="surrogatepass")
    return gzip.compress(content, mtime=0) if kind.endswith(".gz") else content


@cache
def _bomb() -> bytes:
    return gzip.compress(b"width,height\n" + bytes(2**26), mtime=0)


TABLES: Final = ("csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.gz")


def tables(chance: random.Random) -> Case:
    """Tables of sizes in every format, whole, with bad cells, and damaged; the options that name their columns."""
    kind = chance.choice(TABLES)
    name = f"t.{kind}"

    def known() -> Case:
        rows = _rows(chance, BAD_CELLS, chance.choice((0.0, 0.0, 0.1, 0.9)))
        spelled = chance.choice((str, str, str.upper, str.title, lambda name: f" {name} "))
        header = [HEADER[0], spelled(HEADER[1]), *HEADER[2:]]
        own = "\t" if kind == "tsv" else ","
        content = _table(kind, rows, chance.choice((own, own, ",", ";", "\t")), header)
        if kind in ("csv", "tsv") and chance.random() < 0.2:
            content = b"\xef\xbb\xbf" + content
        unclosed = 0
        if kind in ("csv", "tsv") and chance.random() < 0.2:
            lines = content.splitlines(keepends=True)
            lines.insert(chance.randrange(1, len(lines) + 1), b'"640,480\n')
            content, unclosed = b"".join(lines), 1
        options = chance.choice(
            ([], ["--by", "kind"], ["--output-tokens", "n"], ["--rows", "rows.parquet"], ["--count", "n"])
        )
        stdin = b""
        source = name
        if kind in ("csv", "jsonl") and chance.random() < 0.3:
            source, stdin = "-", content
        else:
            Path(name).write_bytes(content)
        pages = [(int(row[0]), int(row[1]), int(row[3])) for row in rows if _is_page(row)]
        left_out = [int(row[3]) for row in rows if not _is_page(row)]
        counted = "--count" in options

        def check(answer: Answer) -> str | None:
            document = answer.json()
            workload = document["configuration"]["workload"]
            one = [oracle.tokens(workload, *oracle.layout(workload, width, height)) for width, height, _ in pages]
            times = [count if counted else 1 for *_, count in pages]
            expected = {
                "pages": sum(times),
                "left out": (sum(left_out) if counted else len(left_out)) + unclosed,
                "image_tokens": sum(each * count for each, count in zip(one, times, strict=True)),
                "output_tokens": sum(count for *_, count in pages) if "--output-tokens" in options else 0,
            }
            found = {name: document.get(name, document["left_out"]["pages"]) for name in expected}
            for parts in ("layouts", "groups"):
                for figure in ("pages", "image_tokens"):
                    if parts in document and sum(part[figure] for part in document[parts]) != expected[figure]:
                        return f"{figure} of {parts} are not the whole's"
            return None if found == expected else f"{found}, expected {expected}"

        return Case(
            arguments=["corpus", source, "--json", *options],
            stdin=stdin,
            expected=RIGHT if pages else None,
            check=check,
            outputs=("rows.parquet",),
        )

    def bomb() -> Case:
        """One line of 64 MiB in 64 kB."""
        Path("t.csv.gz").write_bytes(_bomb())
        return Case(arguments=["corpus", "t.csv.gz", *chance.choice(([], ["--json"], ["--strict"]))])

    def strange() -> Case:
        rows = _rows(chance, STRANGE_CELLS, 0.3)
        content = _table(kind, rows, chance.choice(",,;\t|"), HEADER)
        damage = mutations.data if kind in ("parquet", "csv.gz", "jsonl.gz") else mutations.text
        for _ in range(chance.choice((0, 1, 1))):
            content = damage(chance, content)
        Path(name).write_bytes(content)
        options = chance.choice(
            (
                *(
                    [],
                    [],
                    ["--by", "kind"],
                    ["--by", "nothing"],
                    ["--width", "height"],
                    ["--width", "kind"],
                    ["--strict"],
                ),
                *(["--output-tokens", "n"], ["--output-tokens", "kind"], ["--unit", "points"], ["--unit", "x"]),
                *(
                    ["--count", "n"],
                    ["--count", "kind"],
                    ["--rows", "rows.parquet"],
                    ["--rows", name],
                    ["--max-pixels", "9"],
                ),
                *(
                    ["--resume", "state"],
                    ["--resume", name],
                    ["--rows", "state/x", "--resume", "state"],
                    ["--dpi", "0"],
                ),
                *(["--by", "kind", "--rows", "rows.parquet", "--resume", "state"], ["--by", ""], ["--width", ""]),
            )
        )
        command = chosen(
            chance,
            (40, lambda: ["corpus"]),
            (5, lambda: ["throughput", "--output-tokens", "100", "--device", "H100-SXM"]),
            (5, lambda: ["page"]),
        )
        if command[0] != "corpus":
            options = []
        outputs = ("rows.parquet", "state/")
        return Case(arguments=[*command, name, *options, *chance.choice(([], ["--json"]))], outputs=outputs)

    case: Case = chosen(chance, (50, known), (100, strange), (1, bomb))
    return case


# -- device files ----------------------------------------------------------------------------------------------------

YAMLS: Final = (
    b"",
    b"null\n",
    b"- 1\n",
    b"a\n",
    b"{",
    b"&a [*a]\n",
    b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nname: [*c,*c,*c]\n",
    b"!!python/object/apply:os.system ['echo x']\n",
    b"name: !!python/name:evilmod.x\n",
    b"name: !!binary aGVsbG8=\n",
    b"? [a, b]\n: c\n",
    b"a: 1\n---\nb: 2\n",
    b"[" * 3000,
    b"name: " + b"[" * 200 + b"]" * 200,
    b"<<: *x\n",
    b"a: " + b"9" * 6000,
    b"\xff\xfea\0:\0 \x001\0",
    b"name: \x07\n",
)


def device_files(chance: random.Random) -> Case:
    """Device files with any value anywhere, YAML of every kind, damaged files; as a device of every command."""
    documents, texts = good.device_documents(), good.device_texts()
    number = chance.randrange(len(documents))

    def whole() -> Case:
        Path("d.yaml").write_text(texts[number], encoding="utf-8")

        def check(answer: Answer) -> str | None:
            (device,) = answer.json()["devices"]
            for name in ("name", "title", "vector_flops_per_s", "memory_bandwidth_bytes_per_s"):
                if device[name] != documents[number][name]:
                    return f"{name}={device[name]}, expected {documents[number][name]}"
            return None

        return Case(arguments=["devices", "d.yaml", "--json"], expected=RIGHT, check=check, repeat=True)

    def changed() -> bytes:
        return mutations.yaml_bytes(chance, mutations.tree(chance, documents[number]))

    def damaged() -> bytes:
        return mutations.text(chance, texts[number].encode())

    def template() -> bytes:
        content: bytes = chance.choice(YAMLS)
        return content if chance.random() < 0.5 else texts[number].encode() + content

    def spoilt() -> Case:
        content = chosen(chance, (6, changed), (3, damaged), (1, template))
        name = chance.choice(("d.yaml", "d.yaml", "d.yml", "d.json", "H100-SXM.yaml"))
        Path(name).write_bytes(content)
        asked = chosen(
            chance,
            (90, lambda: ["devices", name, *chance.choice(([], ["--json"]))]),
            (5, lambda: ["throughput", "5x5", "--output-tokens", "9", "--device", name, "--json"]),
            (4, lambda: ["diff", "5x5", "--a", "workload=base", "--b", "workload=tiny", "--device", name, "--json"]),
        )
        return Case(arguments=asked)

    case: Case = chosen(chance, (1, whole), (9, spoilt))
    return case


# -- saved results ---------------------------------------------------------------------------------------------------

RESULTS: Final = (
    b"",
    b"null",
    b"[]",
    b"1",
    b'"a"',
    b"[" * 100000,
    b'{"schema_version": 1}',
    b"NaN",
    b"{" * 50,
    b"\xef\xbb\xbf{}",
)

INJECTED: Final = (
    ("hydra.searchpath", ["pkg://evilmod"]),
    ("hydra.searchpath", "[pkg://evilmod]"),
    ("hydra/launcher", "evilmod"),
    ("hydra.launcher", {"_target_": "evilmod.x"}),
    ("+hydra.searchpath", ["pkg://evilmod"]),
    ("runtime.prompt", "${oc.env:FUZZ_SECRET}"),
    ("runtime.tokenizer_path", "${oc.env:HOME}"),
    ("runtime.dtype", "${oc.env:FUZZ_SECRET}"),
    ("decoder._target_", "evilmod.x"),
    ("defaults", ["evilmod"]),
)


def saved_results(chance: random.Random) -> Case:
    """Results with any value anywhere, as one or both sides of `diff`."""
    texts = good.result_texts()
    one, other = (chance.randrange(len(texts)) for _ in range(2))

    def whole() -> Case:
        Path("a.json").write_text(texts[one])
        Path("b.json").write_text(texts[one])

        def check(answer: Answer) -> str | None:
            document = answer.json()
            rows = [row for page in document["pages"] for row in (*page["tokens"], *page["stages"])]
            if document["configuration"] or any(row["delta"] for row in rows) or not rows:
                return f"a result differs from itself: {rows[:3]}"
            return None

        return Case(arguments=["diff", "a.json", "b.json", "--json"], expected=RIGHT, check=check)

    def changed() -> bytes:
        return mutations.json_bytes(chance, mutations.tree(chance, json.loads(texts[one])))

    def configured() -> bytes:
        document = json.loads(texts[one])
        document["configuration"] = mutations.tree(chance, document["configuration"])
        return mutations.json_bytes(chance, document)

    def injected() -> bytes:
        """What Hydra would act on, were the configuration its overrides."""
        document = json.loads(texts[one])
        key, value = chance.choice(INJECTED)
        *groups, last = key.split(".") if chance.random() < 0.5 else [key]
        holder = document["configuration"]
        for group in groups:
            holder = holder.setdefault(group, {})
        holder[last] = value
        return mutations.json_bytes(chance, document)

    def damaged() -> bytes:
        return mutations.text(chance, texts[one].encode())

    def template() -> bytes:
        content: bytes = chance.choice(RESULTS)
        return content

    def spoilt() -> Case:
        content = chosen(chance, (6, changed), (3, configured), (3, damaged), (1, template), (1, injected))
        names = ["a.json", "b.json"]
        chance.shuffle(names)
        Path(names[0]).write_bytes(content)
        Path(names[1]).write_text(texts[other])
        options = chance.choice(
            ([], ["--json"], ["--json"], ["--by", "traffic"], ["--device", "H100-SXM"], ["--top", "1"])
        )
        return Case(arguments=["diff", *names, *options])

    case: Case = chosen(chance, (1, whole), (9, spoilt))
    return case


# -- resume folders --------------------------------------------------------------------------------------------------

_RESUMED: Final = ["corpus", *good.RESUMED, "--by", "n", "--rows", "rows.parquet", "--json"]


@cache
def _whole_answer() -> Any:
    """What a run over the tables of a resumed run says that nobody cut: its figures."""
    from contextlib import redirect_stdout

    from modelmeter.cli.main import main

    good.write_resumed_tables()
    with redirect_stdout(io.StringIO()) as out:
        assert main([*_RESUMED]) == 0
    Path("rows.parquet").unlink()
    return json.loads(out.getvalue())


def _state(batches: int) -> dict[str, bytes]:
    """The files of a run's folder. It keeps paths and times of the tables, so it is made where it is used."""
    good.write_state(batches)
    return {place.name: place.read_bytes() for place in sorted(Path("state").iterdir())}


_STATES: dict[tuple[str, int], dict[str, bytes]] = {}


def resume_folders(chance: random.Random) -> Case:
    """Folders of a cut run, whole and damaged: the run goes on to the same figures, or is refused."""
    expected = _whole_answer()
    good.write_resumed_tables()
    batches = chance.choice((0, 1, 2, 9))
    kept = _STATES.setdefault((os.getcwd(), batches), {})
    if not kept:
        kept |= _state(batches)
    shutil.rmtree("state", ignore_errors=True)
    os.mkdir("state")
    for name, content in kept.items():
        Path("state", name).write_bytes(content)

    def check(answer: Answer) -> str | None:
        found = answer.json()
        return None if found == expected else "the resumed run has other figures than a whole one"

    def whole() -> str | None:
        return RIGHT

    def damaged() -> str | None:
        name = chance.choice(sorted(kept))
        place = Path("state", name)
        kind = chance.randrange(7)
        content = kept[name]
        if kind < 3:
            place.write_bytes(mutations.data(chance, content))
        elif kind == 3 and name.endswith(".json"):
            place.write_bytes(mutations.json_bytes(chance, mutations.tree(chance, json.loads(content))))
        elif kind == 4:
            place.unlink()
        elif kind == 5:
            place.unlink()
            chance.choice((os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)))(place)
        else:
            Path("state", f".{name}.unfinished").write_bytes(content[: len(content) // 2])
        return None

    def tables_changed() -> str | None:
        place = Path(chance.choice(good.RESUMED))
        place.write_bytes(mutations.data(chance, place.read_bytes()))
        return None

    must = chosen(chance, (2, whole), (6, damaged), (1, tables_changed))
    unchanged = all(Path(name).stat().st_mtime == 10**9 for name in good.RESUMED)
    return Case(
        arguments=[*_RESUMED, "--resume", "state"],
        expected=must,
        check=check if unchanged else lambda _: None,
        outputs=("rows.parquet", "state/"),
    )


CLASSES: Final[Mapping[str, tuple[Maker, int]]] = {
    "overrides": (overrides, 15),
    "sizes and page inputs": (sizes, 25),
    "images": (images, 17),
    "PDFs": (pdfs, 8),
    "tables": (tables, 10),
    "device files": (device_files, 12),
    "saved results": (saved_results, 11),
    "resume folders": (resume_folders, 2),
}
"""What makes a case of each class, and its share of the cases; the shares are by what a case costs."""
