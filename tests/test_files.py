"""Files that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.files import replacing, write_whole


def test_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_whole(path, "first")
    write_whole(path, "second é")
    assert path.read_text(encoding="utf-8") == "second é"
    assert os.listdir(path.parent) == ["file.txt"]


def test_what_was_there_stays_if_the_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_nothing_is_in_place_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path
        assert not path.exists()
    assert path.read_text() == ""


def test_rights_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_whole(tmp_path / "whole", "")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "below.txt", tmp_path):
        with pytest.raises(ModelMeterError, match=r"cannot be written \(.+\); choose another folder\."):
            write_whole(path, "text")
    assert os.listdir(tmp_path) == ["file"]
