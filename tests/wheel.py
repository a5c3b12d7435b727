"""Whether the wheel works alone: `make wheel-check`.

The wheel is built and installed into a virtual environment of its own, with what the core depends on and nothing else;
there, in an empty folder, README's Python prints what README says, and commands print what they print here. It has the
package's files, all of them and no others. It needs a package index: no test of pytest's.
Exit status: 0 it does, 1 it does not, 2 not run.
"""

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from modelmeter.models import MODELS
from tests.examples import promised, python_blocks

ROOT: Final = Path(__file__).parents[1]
WORKS: Final = 0
FAILS: Final = 1
NOT_RUN: Final = 2

#: what no user has who installed the core alone: where one is there, the environment shows nothing
EXTRAS: Final = ("jinja2", "matplotlib", "pandas", "pyarrow", "pypdfium2", "torch", "transformers")

#: commands that say there what they say here
COMMANDS: Final = (
    ("--version",),
    ("models",),
    ("devices",),
    ("page", "1275x1650", "--json"),
    ("throughput", "1275x1650", "--output-tokens", "1000", "--device", "H100-SXM"),
    *(("page", "1275x1650", "--model", name) for name in MODELS),
)
#: commands that need more, and the word that says what
REFUSED: Final = (
    (("report", "1275x1650", "-o", "report.html"), "jinja2"),
    (("verify", "layers"), "torch"),
)


class Failure(Exception):
    """What does not work, in words."""


def package_files() -> set[str]:
    """The files of the package as a wheel names them."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "extern/modelmeter"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.removeprefix("extern/") for name in done.stdout.splitlines() if (ROOT / name).exists()}


def wheel_files(wheel: Path) -> set[str]:
    """The files that a wheel installs, its own description left out."""
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def check_files(wheel: Path) -> None:
    """Raise `Failure` unless the wheel has the package's files."""
    package, packed = package_files(), wheel_files(wheel)
    if package != packed:
        lacks, others = sorted(package - packed), sorted(packed - package)
        raise Failure(f"the wheel lacks {lacks[:5]}, and has {others[:5]} which the package has not")


def build(folder: Path) -> Path:
    """The wheel, built from this checkout."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("modelmeter-*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """The interpreter of a virtual environment in `folder` with this wheel and what it depends on."""
    venv.create(folder, clear=True, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", wheel], check=True)
    return python


def said(command: Sequence[str | Path], folder: Path) -> tuple[int, str, str]:
    """Exit status and output of a command that runs in an empty folder, and finds no checkout."""
    environment = {"PATH": "", "COLUMNS": "80", "PYTHONNOUSERSITE": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def check(python: Path, folder: Path) -> None:
    """Raise `Failure` unless the package that `python` imports does what README and this checkout say."""
    where = "import importlib.util as u; print([n for n in {} if u.find_spec(n)], u.find_spec('modelmeter').origin)"
    _, found, _ = said([python, "-c", where.format(EXTRAS)], folder)
    if not found.startswith("[] ") or str(python.parents[1]) not in found:
        raise Failure(f"the environment is not the wheel alone: {found.strip()}")
    blocks = python_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    expected = [line for block in blocks for line in promised(block)]
    status, out, err = said([python, "-c", "\n".join(blocks)], folder)
    if status or out.splitlines() != expected or not expected:
        raise Failure(f"README's Python: status {status}, {out or 'nothing printed'}{err}")
    here = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'extern')!r})\n{_MAIN}"]
    for arguments in COMMANDS:
        there = said([python.with_name("modelmeter"), *arguments], folder)
        if there != said([*here, *arguments], folder) or there[0]:
            raise Failure(f"modelmeter {' '.join(arguments)}: status {there[0]}, {there[2] or 'another answer'}")
    for arguments, word in REFUSED:
        status, _, err = said([python.with_name("modelmeter"), *arguments], folder)
        if status != 2 or word not in err or len(err.splitlines()) != 1:
            raise Failure(f"modelmeter {' '.join(arguments)} does not say that it needs {word}: {status}, {err}")


_MAIN: Final = "from modelmeter.cli.main import main\nsys.argv[0] = 'modelmeter'\nsys.exit(main())"


def main(folder: Path) -> int:
    """Build, install and check in `folder`."""
    empty = folder / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    try:
        wheel = build(folder)
        python = install(wheel, folder / "venv")
    except subprocess.CalledProcessError as error:
        print(f"wheel: NOT RUN, pip failed with status {error.returncode} (see above)", file=sys.stderr)
        return NOT_RUN
    try:
        check_files(wheel)
        check(python.absolute(), empty)
    except Failure as error:
        print(f"wheel: {error}", file=sys.stderr)
        return FAILS
    print(f"wheel: {wheel.name}, installed alone, does what README and {len(COMMANDS)} commands say")
    return WORKS


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
