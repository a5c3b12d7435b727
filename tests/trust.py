"""docs/trust.md's figures, from the reports that they are of.

    python -m tests.trust

writes them anew; `tests/test_trust.py` holds that the page has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "trust.md"
KERNELS = ROOT / "reports" / "timing" / "README.md"
STAGES = ROOT / "reports" / "timing" / "stages.md"
PUBLISHED = ROOT / "reports" / "published.md"


def rows_of(table: str) -> Iterator[list[str]]:
    """The cells of each row of a Markdown table, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def errors_by_class(table: str) -> dict[str, list[tuple[float, ...]]]:
    """By class of kernels, the errors of every card that has some: median and 90th percentile, or the median."""
    return {
        name.strip("`"): [tuple(float(number) for number in cell.split("/")) for cell in cells if cell != "–"]
        for name, *cells in rows_of(table)
    }


def span(values: list[float]) -> str:
    """From the least to the largest of them, in whole percents."""
    low, high = round(min(values)), round(max(values))
    return f"{low}" if low == high else f"{low} to {high}"


def kernels() -> str:
    """The errors of kernels by class, over cards."""
    own, carried, roofline = (
        errors_by_class(table)
        for table in re.split(r"\n(?=\| class \|)", KERNELS.read_text(encoding="utf-8").split("\n## ")[1])[1:4]
    )
    lines = ["| class | cards | own constants | carried over | roofline |", "|---|---:|---:|---:|---:|"]
    for name, errors in own.items():
        cells = (
            f"{span([median for median, _ in table[name]])} ({span([tail for _, tail in table[name]])})"
            for table in (own, carried)
        )
        lines.append(
            f"| `{name}` | {len(errors)} | {' | '.join(cells)} | {span([error for (error,) in roofline[name]])} |"
        )
    return "\n".join(lines)


def stages() -> str:
    """What the report of stages says in short."""
    bullets = re.findall(r"^- .*$", STAGES.read_text(encoding="utf-8"), re.MULTILINE)
    return "\n".join(
        re.sub(r"`PASS_ERROR` \((.*?)\)", r"The error of a pass beside its kernels (\1)", each) for each in bullets[:3]
    )


def published() -> str:
    """What the report of published figures says in short."""
    return PUBLISHED.read_text(encoding="utf-8").split("## In short\n\n")[1].split("\n\n## ")[0]


def misses() -> str:
    """The published figures that no constant was fitted to and that lie furthest from their predictions."""
    lines = ["| published | figure | predicted / published | |", "|---|---|---:|---|"]
    for section in PUBLISHED.read_text(encoding="utf-8").split("\n## ")[2:]:
        ratios: dict[tuple[str, str, str], list[float]] = {}
        for row in rows_of(section):
            if len(row) == 7 and row[6] in ("held out", "assumed") and not 0.8 <= float(row[5]) <= 1.25:
                crowd = re.search(r"\d+ in flight|batches of \d+", row[0])
                ratios.setdefault((row[1], crowd[0] if crowd else "", row[6]), []).append(float(row[5]))
        title = section.split("\n")[0]
        for (figure, crowd, used), values in ratios.items():
            said = f"{min(values):.2f}" if min(values) == max(values) else f"{min(values):.2f} to {max(values):.2f}"
            lines.append(f"| {title}{crowd and ', '}{crowd} | {figure} | {said} | {used} |")
    return "\n".join(lines)


BLOCKS: dict[str, Callable[[], str]] = {
    "kernels": kernels,
    "stages": stages,
    "published": published,
    "misses": misses,
}


def block(name: str) -> re.Pattern[str]:
    """The block of that name in the page: its marks, and what is between."""
    return re.compile(rf"(<!-- {name}:begin -->\n)(.*?)(<!-- {name}:end -->)", re.DOTALL)


def main() -> None:
    """Write the page's blocks."""
    text = PAGE.read_text(encoding="utf-8")
    for name, made in BLOCKS.items():
        said = made()
        text = block(name).sub(lambda found, said=said: f"{found[1]}\n{said}\n\n{found[3]}", text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
