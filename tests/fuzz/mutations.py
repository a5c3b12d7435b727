"""Values that break programs, and what is done to good documents so that they are no longer good.

Every function takes a `random.Random` and nothing else that varies: the same generator gives the same values.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

#: a package on the path of the programs under test, whose import leaves a mark
EVIL_MODULE: Final = "evilmod"
#: a variable of the environment with a secret in it
SECRET_VARIABLE: Final = "FUZZ_SECRET"

NUMBERS: Final[Sequence[Any]] = (
    *(0, -1, 1, 2, 3, 7, 2**15, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**18, 10**30, 10**400, -(2**63)),
    *(0.0, -0.0, 0.5, 1.5, -1e-9, 1e-300, 1e15, 1e300, float("inf"), float("-inf"), float("nan")),
)
TEXTS: Final[Sequence[str]] = (
    *(
        "",
        " ",
        "0",
        "-1",
        "1e999",
        "nan",
        "inf",
        "true",
        "null",
        "yes",
        "0x10",
        "1_000",
        "1,5",
        "９",
        "²",
        "--5",
        "=",
        ".",
    ),
    *(
        "\0",
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "\u202egnp.exe",
        "\u2028",
        "\r\nerror: not ours",
        "\ud800",
        "\ufeff",
    ),
    *(
        "é",
        "漢字",
        "🙈",
        "a" * 300,
        "z" * 5000,
        "../../etc/passwd",
        "/dev/zero",
        "%s%n",
        "{0}",
        "$(id)",
        "`id`",
        "<script>",
    ),
    *(
        "[bold]x[/bold]",
        "[link=file:///]x[/link]",
        "hydra.searchpath=[pkg://evilmod]",
        f"!!python/name:{EVIL_MODULE}.x",
    ),
    *(
        "${oc.env:FUZZ_SECRET}",
        "${oc.env:HOME}",
        "${hydra:runtime.cwd}",
        "${.x}",
        "pkg://evilmod",
        "2001-01-01",
        "1:30",
    ),
)


def value(chance: random.Random, depth: int = 0) -> Any:
    """Any value that JSON or YAML can hold, and some that they cannot."""
    kind = chance.randrange(9 if depth < 3 else 6)
    if kind < 2:
        return chance.choice(NUMBERS)
    if kind < 4:
        return chance.choice(TEXTS)
    if kind < 6:
        return chance.choice((True, False, None, chance.randrange(-5, 5000)))
    if kind == 6:
        return [value(chance, depth + 1) for _ in range(chance.choice((0, 1, 2, 3, 40)))]
    if kind == 7:
        return {str(value(chance, 3)): value(chance, depth + 1) for _ in range(chance.choice((0, 1, 2, 5)))}
    nested: Any = 1
    for _ in range(chance.choice((5, 25, 400))):
        nested = [nested] if chance.random() < 0.7 else {"a": nested}
    return nested


def tree(chance: random.Random, document: Any) -> Any:
    """A good document of mappings, lists and values with one to three places in it changed."""
    changed = copy.deepcopy(document)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = _places(changed)
        if not places:
            return value(chance)
        holder, key = chance.choice(places)
        kind = chance.randrange(7)
        if kind < 3:
            holder[key] = value(chance)
        elif kind == 3:
            del holder[key]
        elif kind == 4 and isinstance(holder, dict):
            holder[chance.choice((*TEXTS, "hydra", "defaults", "_target_", f"{key}s"))] = value(chance)
        elif kind == 5:
            holder[key] = _other_type(holder[key])
        else:
            _, other = chance.choice(places)
            holder[key] = (
                copy.deepcopy(holder[other]) if isinstance(holder, dict) and other in holder else [holder[key]]
            )
    return changed


def _places(document: Any) -> list[tuple[Any, Any]]:
    """(mapping or list, key) of every value in a document."""
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        keys = (
            list(holder) if isinstance(holder, dict) else list(range(len(holder))) if isinstance(holder, list) else []
        )
        places += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys]
    return places


def _other_type(old: Any) -> Any:
    if isinstance(old, bool):
        return str(old)
    if isinstance(old, int):
        return float(old) + 0.5 if abs(old) < 2**53 else str(old)
    if isinstance(old, str):
        return [old]
    return str(old)


def data(chance: random.Random, good: bytes) -> bytes:
    """Bytes of a good file: some flipped, left out, doubled or cut off."""
    changed = bytearray(good)
    for _ in range(chance.choice((1, 1, 2, 5, 30))):
        if not changed:
            return b""
        at = chance.randrange(len(changed))
        kind = chance.randrange(7)
        if kind < 2:
            changed[at] = chance.randrange(256)
        elif kind == 2:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 3:
            del changed[at : at + chance.choice((1, 2, 4, 100))]
        elif kind == 4:
            changed[at:at] = changed[at : at + chance.choice((1, 4, 64))]
        elif kind == 5:
            changed[at : at + 4] = chance.choice(
                (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x01")
            )
        else:
            del changed[at:]
    return bytes(changed)


def text(chance: random.Random, good: bytes) -> bytes:
    """A good text file: its bytes changed, or a whole piece put in, or another encoding."""
    kind = chance.randrange(8)
    if kind < 3:
        return data(chance, good)
    if kind == 3:
        at = chance.randrange(len(good) + 1)
        return good[:at] + chance.choice(TEXTS).encode(errors="surrogatepass") + good[at:]
    if kind == 4:
        lines = good.splitlines(keepends=True)
        at = chance.randrange(len(lines) or 1)
        return b"".join([*lines[:at], *lines[at : at + 1] * chance.choice((0, 2, 3)), *lines[at + 1 :]])
    if kind == 5:
        return good.decode(errors="replace").encode(
            chance.choice(("utf-16", "utf-32", "utf-8-sig", "cp037")), "replace"
        )
    if kind == 6:
        return good.replace(
            chance.choice((b":", b'"', b",", b"\n", b"{", b"[", b" ")), chance.choice((b"", b"\0", b"\t")), 3
        )
    return good * 2


def json_bytes(chance: random.Random, document: Any) -> bytes:
    """A document as JSON, in one of its spellings; what JSON lacks (NaN, lone surrogates) is written all the same."""
    written = json.dumps(document, ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, 2)))
    return written.encode(errors="surrogatepass")


def yaml_bytes(chance: random.Random, document: Any) -> bytes:
    """A document as YAML: as JSON, which is YAML, or in blocks."""
    import yaml

    if chance.random() < 0.3:
        return json_bytes(chance, document)
    try:
        written: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=chance.random() < 0.5)
    except (yaml.YAMLError, ValueError, RecursionError):
        return json_bytes(chance, document)
    return written.encode(errors="surrogatepass")


def chosen(chance: random.Random, *weighted: tuple[int, Callable[[], Any]]) -> Any:
    """What one of the functions gives, drawn by the weights beside them."""
    ((_, function),) = chance.choices(weighted, [weight for weight, _ in weighted])
    return function()
