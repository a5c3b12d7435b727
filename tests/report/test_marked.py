"""Generated text between markers, and files of bytes."""

from pathlib import Path

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.report.marked import refresh_marked

TEXT = "before\n<!-- a:begin -->\nold\n<!-- a:end -->\nafter\n"


def test_only_what_is_between_the_markers_changes() -> None:
    new = refresh_marked("file", TEXT, "a", "new\n")
    assert new == "before\n<!-- a:begin -->\n\nnew\n\n<!-- a:end -->\nafter\n"
    assert refresh_marked("file", new, "a", "new\n") == new


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- a:begin -->\n",
        "<!-- a:end -->\n<!-- a:begin -->\n",
        TEXT + TEXT,
        TEXT + "<!-- a:end -->",
    ],
)
def test_markers_must_be_there_once(text: str) -> None:
    with pytest.raises(
        ModelMeterError, match=r"file: the lines <!-- a:begin --> and <!-- a:end --> are not there once"
    ):
        refresh_marked("file", text, "a", "new\n")


def test_files_may_be_bytes(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.png", b"\x89\r\n\x00")
    write_whole(tmp_path / "a.md", "10¹²\n")
    assert (tmp_path / "a.png").read_bytes() == b"\x89\r\n\x00"
    assert (tmp_path / "a.md").read_bytes() == "10¹²\n".encode()
