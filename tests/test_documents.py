"""Files of others' making: what is read of them, and what is refused before it can cost time, memory or more."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmeter.documents import read_json, read_regular, read_yaml
from modelmeter.errors import ModelMeterError

MEBIBYTE = 2**20


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "document"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # an address may be short only


SPECIAL: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pipe": (os.mkfifo, "doc is a pipe; give a file"),
    "folder": (os.mkdir, "doc is a folder; give a file"),
    "socket": (a_socket, "doc cannot be read"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "doc is a device; give a file"),
    "nothing": (lambda path: None, "doc does not exist"),
    "link_to_itself": (lambda path: path.symlink_to(path), "doc cannot be read"),
}


@pytest.mark.parametrize("make, text", SPECIAL.values(), ids=SPECIAL)
def test_only_a_regular_file_is_read(
    make: Callable[[Path], Any], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "special")
    with pytest.raises(ModelMeterError, match=text):
        read_regular("doc", tmp_path / "special", MEBIBYTE)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_names_that_no_file_has_are_refused(name: str) -> None:
    with pytest.raises(ModelMeterError, match="doc cannot be read"):
        read_regular("doc", name, MEBIBYTE)


def test_a_file_has_its_most_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, b" " * MEBIBYTE)
    assert len(read_regular("doc", path, MEBIBYTE)) == MEBIBYTE
    path = written(tmp_path, b" " * (MEBIBYTE + 1))
    with pytest.raises(ModelMeterError, match=r"doc has 1,048,577 bytes; at most 1,048,576 are read"):
        read_regular("doc", path, MEBIBYTE)


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_a_byte_order_mark_is_skipped(read: Callable[..., Any], tmp_path: Path) -> None:
    assert read("doc", written(tmp_path, b'\xef\xbb\xbf{"a": [1, 1.5, true, null, "b"]}'), MEBIBYTE) == {
        "a": [1, 1.5, True, None, "b"]
    }


JSON = {  # what a file holds, what is said
    "infinity": ('{"a": Infinity}', "Infinity is no number"),
    "not_a_number": ("[NaN]", "NaN is no number"),
    "twice": ('{"a": 1, "b": 2, "a": 3}', "duplicate name 'a'"),
    "digits": ("9" * 6000, "a number of 6,000 digits"),
    "deep": ("[" * 21 + "]" * 21, "holds more than 20 mappings and lists within each other"),
    "deeper": ("[" * 100_000, "holds more than 20 mappings and lists within each other"),
    "deep_mappings": ('{"a":' * 30 + "1" + "}" * 30, "holds more than 20 mappings and lists within each other"),
    "no_utf_8": (b"\xff", "is no JSON"),
    "cut": ('{"a": ', "is no JSON"),
    "empty": ("", "is no JSON"),
}


@pytest.mark.parametrize("content, text", JSON.values(), ids=JSON)
def test_json_that_is_refused(content: str | bytes, text: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=f"^doc .*{text}"):
        read_json("doc", written(tmp_path, content), MEBIBYTE)


YAML = {
    "aliases": ("a: &a [x, x]\nb: [*a, *a]\n", "anchors and aliases are not read"),
    "itself": ("a: &a [*a]", "anchors and aliases are not read"),
    "python_tag": ("a: !!python/object/apply:os.getcwd []", "the tag .* is not read"),
    "binary_tag": ("a: !!binary aGk=", "the tag .* is not read"),
    "own_tag": ("!mine {a: 1}", "the tag .* is not read"),
    "documents": ("a: 1\n---\nb: 2\n", "expected a single document"),
    "twice": ("a: 1\nb: {c: 1, c: 2}\n", "duplicate key 'c'"),
    "key": ("{[a]: 1}", "a key that is no text"),
    "deep": ("[" * 21 + "]" * 21, "holds more than 20 mappings and lists within each other"),
    "deeper": ("[" * 100_000, "holds more than 20 mappings and lists within each other"),
    "indented": ("".join(f"{' ' * depth}a:\n" for depth in range(300)), "holds more than 20 mappings"),
    "nul": ("a: \0", "is no YAML file"),
    "no_utf_8": (b"\x80\xff", "is no YAML file"),
}


@pytest.mark.parametrize("content, text", YAML.values(), ids=YAML)
def test_yaml_that_is_refused(content: str | bytes, text: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=f"^doc .*{text}"):
        read_yaml("doc", written(tmp_path, content), MEBIBYTE)


SCALARS = {  # as it is written, what it is
    "null": None,
    "~": None,
    "": None,
    "true": True,
    "False": False,
    "yes": "yes",
    "12": 12,
    "-3": -3,
    "1.5e+12": 1.5e12,
    "1e12": 1e12,
    "017": "017",
    "0x1f": "0x1f",
    "1_000": "1_000",
    "12:30:45": "12:30:45",
    "2020-01-01": "2020-01-01",
    "<<": "<<",
    "=": "=",
    '"12"': "12",
    "${oc.env:HOME}": "${oc.env:HOME}",
    "9" * 1001: "9" * 1001,
}


@pytest.mark.parametrize("text, value", SCALARS.items())
def test_yaml_reads_decimal_numbers_and_plain_text(text: str, value: Any, tmp_path: Path) -> None:
    read = read_yaml("doc", written(tmp_path, f"a: {text}\n"), MEBIBYTE)["a"]
    assert (read, type(read)) == (value, type(value))
