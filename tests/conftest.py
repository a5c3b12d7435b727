"""What several tests make their inputs with."""

import os
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import pytest

from modelmeter import models
from tests.quick import left_out

WritePdf = Callable[..., Path]


def pdf_bytes(pages: Sequence[str], *, inherited: str = "", trailer: str = "") -> bytes:
    """A PDF written by hand: an entry of `pages` is what stands in that page's dictionary, beside its parent.

    inherited: what stands in the page tree's root. trailer: what stands in the trailer, beside the root.
    """
    kids = " ".join(f"{number} 0 R" for number in range(3, 3 + len(pages)))
    bodies = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} {inherited} >>",
        *(f"<< /Type /Page /Parent 2 0 R {page} >>" for page in pages),
    ]
    file, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(file))
        file += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(bodies) + 1
    return (
        file
        + (
            f"xref\n0 {size}\n0000000000 65535 f \n{table}"
            f"trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{len(file)}\n%%EOF\n"
        ).encode()
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """--quick: while one works."""
    parser.addoption("--quick", action="store_true", help="leave out what imports torch, and what is marked as slow")


def pytest_configure() -> None:
    """The day's part of the measurements is chosen before the processes start, so that midnight parts none of them."""
    os.environ.setdefault("MEASURED_PART", str(date.today().toordinal() % 30))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file that imports torch, or runs programs, is not even opened."""
    if config.getoption("--quick") and collection_path.suffix == ".py" and left_out(collection_path):
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Slow tests are left out, and counted as such. A file's tests run in one process: they share what they make."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(config.rootpath).as_posix()))
    if config.getoption("--quick"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the toy model, which is registered as any model is: by a line of `MODELS`."""
    monkeypatch.setattr(models, "MODELS", {**models.MODELS, "toy": "tests.toy_model"})
    return "toy"


@pytest.fixture
def write_pdf(tmp_path: Path) -> WritePdf:
    """write_pdf(*pages, name="page.pdf", inherited="", trailer="") -> the path of a PDF with these pages."""

    def write(*pages: str, name: str = "page.pdf", inherited: str = "", trailer: str = "") -> Path:
        path = tmp_path / name
        path.write_bytes(pdf_bytes(pages, inherited=inherited, trailer=trailer))
        return path

    return write
