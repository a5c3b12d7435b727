"""Good documents of every kind that the command reads, made by this library and by those that it reads with.

Each is made once in a process, and is the same in every process; a case takes a copy and may spoil it.
"""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, Final

from PIL import Image

from tests.conftest import pdf_bytes

#: suffix, as Pillow writes it, modes that it holds
IMAGE_KINDS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "png": ("PNG", ("RGB", "L", "1", "P", "RGBA", "I;16")),
    "jpg": ("JPEG", ("RGB", "L", "CMYK")),
    "tiff": ("TIFF", ("RGB", "L", "1", "CMYK")),
    "gif": ("GIF", ("P", "L")),
    "webp": ("WEBP", ("RGB", "RGBA")),
    "bmp": ("BMP", ("RGB", "L", "1")),
    "jp2": ("JPEG2000", ("RGB", "L")),
    "ppm": ("PPM", ("RGB", "L", "1")),
    "avif": ("AVIF", ("RGB",)),
}
IMAGE_SIZES: Final = ((1, 1), (3, 7), (37, 23), (64, 64))
ORIENTATION: Final = 0x0112

#: what begins like a picture of a kind that is not read, or has a decoder that starts a program
FOREIGN: Final[Mapping[str, bytes]] = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n",
    "fits": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
    "psd": b"8BPS\0\1\0\0\0\0\0\0\0\3\0\0\0\5\0\0\0\5\0\x08\0\3" + bytes(40),
    "ico": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\0\0\x16\0\0\0" + bytes(200),
    "xpm": b'/* XPM */\nstatic char *x[] = {\n"1 1 1 1",\n"a c #000000",\n"a"};\n',
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(60),
    "tga": bytes(18) + b"x" * 40 + b"TRUEVISION-XFILE.\0",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="5" height="5"/>',
    "text": b"not a picture\n",
    "zeros": bytes(500),
}


@cache
def image(suffix: str, mode: str, size: tuple[int, int], orientation: int, frames: int = 1) -> bytes:
    """An image file. frames: pages of a TIFF, pictures of a GIF, PNG or WebP that moves."""
    format_, _ = IMAGE_KINDS[suffix]
    picture = Image.frombytes("L", size, random.Random(7).randbytes(size[0] * size[1]))
    picture = picture.convert("I;16") if mode == "I;16" else picture.convert(mode)
    options: dict[str, Any] = {}
    if orientation and suffix in ("png", "jpg", "tiff", "webp"):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    if frames > 1 and suffix in ("tiff", "gif", "png", "webp"):
        options |= {"save_all": True, "append_images": [picture.rotate(90 * n) for n in range(1, frames)]}
    if suffix == "tiff" and mode == "RGB" and frames == 1:
        options["compression"] = "tiff_lzw"
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG without pixels, whose header is well made and names any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def pdf(pages: Sequence[str], inherited: str = "", trailer: str = "") -> bytes:
    """A PDF written by hand, as `tests.conftest` does."""
    return pdf_bytes(pages, inherited=inherited, trailer=trailer)


@cache
def _devices() -> tuple[tuple[str, str], ...]:
    folder = resources.files("modelmeter.devices")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return tuple((file.name, file.read_text(encoding="utf-8")) for file in files)


def device_texts() -> list[str]:
    """The files of the bundled devices."""
    return [content for _, content in _devices()]


@cache
def _device_documents() -> str:
    import yaml

    return json.dumps([yaml.safe_load(content) for content in device_texts()])


def device_documents() -> list[Any]:
    """The bundled devices as values."""
    documents: list[Any] = json.loads(_device_documents())
    return documents


#: command lines whose results are saved, and read again by `diff`
ASKED: Final = (
    ["5x5"],
    ["1275x1650", "--output-tokens", "7"],
    ["1275x1650", "640x480", "workload=base"],
    ["3000x700", "workload=gundam_m", "execution=published", "runtime.attention=eager"],
)


@cache
def result_texts() -> tuple[str, ...]:
    """Results as `modelmeter page --json` prints them."""
    from modelmeter.cli.main import main

    texts = []
    for arguments in ASKED:
        with redirect_stdout(io.StringIO()) as out:
            assert main(["page", *arguments, "--json"]) == 0, arguments
        texts.append(out.getvalue())
    return tuple(texts)


#: rows of the three tables of a resumed run
RESUMED_ROWS: Final = 40
RESUMED: Final = ("a.csv", "b.csv", "c.csv")


def write_resumed_tables() -> None:
    """Tables in the working directory, the same each time: name, content and time."""
    for number, name in enumerate(RESUMED):
        rows = "".join(f"{1 + n * 79 % 3000},{1 + n * 1047 % 3000},{n % 4}\n" for n in range(number, RESUMED_ROWS))
        Path(name).write_text(f"width,height,n\n{rows}")
        os.utime(name, (10**9, 10**9))


@contextmanager
def _cut_after(batches: int) -> Iterator[Any]:
    class Cut(Exception):
        pass

    left = batches

    def count(_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Cut

    try:
        yield count
    except Cut:
        pass


def write_state(batches: int) -> None:
    """The folder "state" of a run over the tables in the working directory that was cut after some batches."""
    from modelmeter.corpus import CorpusOptions, run_corpus
    from modelmeter.models.deepseek_ocr import load_cost_model

    options = CorpusOptions(group="n", resume=Path("state"), rows=Path("rows.parquet"), checkpoint_seconds=0.0)
    with _cut_after(batches) as count:
        run_corpus(list(RESUMED), partial(load_cost_model, []), options, count)
    Path("rows.parquet").unlink(missing_ok=True)
