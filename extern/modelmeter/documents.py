"""Files of others' making as plain values: JSON and YAML of bounded size and depth, nothing in them ever carried out.

Only a regular file is opened, so that no pipe or device keeps the reader waiting. A byte order mark is skipped. What
comes of a document is mappings, lists, text, numbers, true, false and null; `modelmeter.kinds` says what they may be.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Final

from modelmeter.errors import ModelMeterError, shown

#: mappings and lists within each other
MAX_DEPTH: Final = 20

_SPECIAL: Final = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def read_regular(who: str, path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """The bytes of a regular file; raises `ModelMeterError`, in words that begin with `who`, if it is none or larger.

    It is opened without waiting: a pipe that nobody writes into is no file, too.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise ModelMeterError(f"{who} does not exist; check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelMeterError(f"{who} cannot be read ({reason}); check the path.") from error
    try:
        status = os.fstat(descriptor)
        for is_special, words in _SPECIAL.items():
            if is_special(status.st_mode):
                raise ModelMeterError(f"{who} is {words}; give a file.")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise ModelMeterError(f"{who} cannot be read ({error.strerror}); check the path.") from error
    finally:
        os.close(descriptor)
    if len(content) > most_bytes:
        size = max(len(content), status.st_size)
        raise ModelMeterError(f"{who} has {size:,} bytes; at most {most_bytes:,} are read.")
    return content


def read_json(who: str, path: str | os.PathLike[str], most_bytes: int) -> Any:
    """The value of a JSON file. A name that stands twice, infinities and NaN are refused."""
    return parse_json(who, read_regular(who, path, most_bytes))


def parse_json(who: str, content: bytes) -> Any:
    """The value of a JSON document, as `read_json` reads it."""
    try:
        value = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_int=_whole,
        )
    except RecursionError as error:
        raise _too_deep(who) from error
    except ValueError as error:
        raise ModelMeterError(f"{who} is no JSON ({error}).") from error
    _check_depth(who, value)
    return value


def read_yaml(who: str, path: str | os.PathLike[str], most_bytes: int) -> Any:
    """The value of a YAML file of one document. Anchors, aliases and tags, and a key that stands twice, are refused.

    Plain text is a number only where it is written as one in decimal digits; a date, yes and no are text.
    """
    import yaml

    content = read_regular(who, path, most_bytes)
    try:
        value = yaml.load(content.decode("utf-8-sig"), _plain_loader())
    except RecursionError as error:
        raise _too_deep(who) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ModelMeterError(f"{who} is no YAML file that can be read: {' '.join(str(error).split())}") from error
    return value


def _too_deep(who: str) -> ModelMeterError:
    return ModelMeterError(f"{who} holds more than {MAX_DEPTH} mappings and lists within each other; make it flat.")


def _check_depth(who: str, value: Any) -> None:
    layer = [value]
    for _ in range(MAX_DEPTH):
        layer = [
            inner
            for each in layer
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    if any(isinstance(each, dict | list) for each in layer):
        raise _too_deep(who)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"duplicate name {shown(name)}")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _whole(digits: str) -> int:
    if len(digits) > 1000:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


@cache
def _plain_loader() -> type[Any]:
    """PyYAML's safe loader, and nothing left in it that can grow, refer or convert."""
    import re

    import yaml

    class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
                raise yaml.YAMLError(f"anchors and aliases are not read; write the value itself{event.start_mark}")
            if event.tag is not None:
                raise yaml.YAMLError(f"the tag {shown(event.tag)} is not read{event.start_mark}")
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise RecursionError
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.YAMLError(f"a key that is no text{key.start_mark}")
                if key.value in seen:
                    raise yaml.YAMLError(f"found duplicate key {shown(key.value)}{key.start_mark}")
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    for tag, pattern, first in (
        ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", "true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", "[-+]?(?:0|[1-9][0-9]{0,999})", list("-+0123456789")),
        ("float", r"[-+]?(?:0|[1-9][0-9]{0,999})(?:\.[0-9]{0,999})?(?:[eE][-+]?[0-9]{1,9})?", list("-+0123456789")),
        ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),  # to be refused as no number
    ):
        PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first)
    return PlainLoader
