"""The site of the documentation: built strictly, so that a dead link fails, and made of nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: what a page loads, as opposed to what a reader may follow
LOADED = re.compile(
    r"""(?:src|srcset)=["']([^"']+)|<link[^>]*href=["']([^"']+)|url\(["']?([^"')]+)|@import ["']([^"']+)"""
)


def built(folder: Path, pages: dict[str, str]) -> tuple[int, str]:
    """Exit status and messages of a strict build of `pages`, configured and called as `make docs` does."""
    source = folder / "docs"
    source.mkdir()
    (source / "conf.py").write_text((DOCS / "conf.py").read_text(encoding="utf-8"), encoding="utf-8")
    for name, text in pages.items():
        (source / name).write_text(text, encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (options,) = re.findall(
        r"^\t\$\(BIN\)/sphinx-build (.*) --doctree-dir \S+ docs outputs/site$", makefile, re.MULTILINE
    )
    command = [sys.executable, "-m", "sphinx", *options.split(), str(source), str(folder / "site")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


INDEX = "# One\n\n{}\n\n```{{toctree}}\ntwo\n```\n"
TWO = "# Two\n\n## A heading\n\ntext\n"


@pytest.mark.slow
def test_a_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    status, messages = built(tmp_path, {"index.md": INDEX.format("[there](two.md#a-heading)"), "two.md": TWO})
    assert (status, messages) == (0, "")
    files = [path for path in (tmp_path / "site").rglob("*") if path.suffix in (".html", ".css")]
    loaded = [
        name for path in files for found in LOADED.findall(path.read_text(encoding="utf-8")) for name in found if name
    ]
    assert len(loaded) > 20
    assert [name for name in loaded if re.match(r"(https?:)?//", name)] == []


DEAD = {"page": "[there](three.md)", "anchor": "[there](two.md#another)", "own_anchor": "[there](#another)"}


@pytest.mark.slow
@pytest.mark.parametrize("link", DEAD.values(), ids=DEAD)
def test_a_dead_link_fails_the_build(link: str, tmp_path: Path) -> None:
    status, messages = built(tmp_path, {"index.md": INDEX.format(link), "two.md": TWO})
    assert status != 0
    assert "index.md:3: WARNING" in messages and "myst.xref_missing" in messages


def test_the_pages_themselves_show_no_picture_from_elsewhere() -> None:
    pages = {path: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    shown = {(path.name, name) for path, text in pages.items() for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)}
    assert shown
    assert {(page, name) for page, name in shown if not (DOCS / name).is_file()} == set()


def test_every_page_is_in_the_contents() -> None:
    listed = re.findall(
        r"^[\w-]+$", "\n".join(re.findall(r"```{toctree}(.*?)```", (DOCS / "index.md").read_text(), re.S)), re.M
    )
    assert sorted(listed) == sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "index")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/gpu/README.md"])
def test_links_of_pages_beside_the_site_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"(?<!!)\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8"))
    targets = [(page.parent / path if path else page, anchor) for path, anchor in links]
    assert [str(path) for path, _ in targets if not path.exists()] == []
    assert [(str(path), anchor) for path, anchor in targets if anchor and anchor not in anchors(path)] == []
