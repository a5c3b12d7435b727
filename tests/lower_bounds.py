"""Whether ModelMeter runs on the oldest versions that it asks for: `make lower-bounds`.

The core is installed into a virtual environment of its own, each of its dependencies in the oldest version that
pyproject.toml allows, and must say of some pages, and of their times, what it says here. It needs a package index: no
test of pytest's.
Exit status: 0 the same, 1 another answer, 2 not run.
"""

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
ASKED: Final = (
    ("page", "1275x1650", *(f"examples/pages/{name}" for name in ("slide.png", "receipt.jpg")), "--json"),
    ("throughput", "1275x1650", "--output-tokens", "1000", "--device", "H100-SXM", "--concurrency", "4"),
    ("compare", "1275x1650", "--page-class", "letter", "--models", "deepseek_ocr,glm_ocr", "--device", "H100-SXM"),
    ("fit", "1275x1650", "--output-tokens", "1000", "--device", "RTX-3060-12GB", "--precisions", "unquantised,awq"),
    ("limits", "1275x1650", "--output-tokens", "1000", "--device", "L4"),
    ("simulate", "1275x1650", "--output-tokens", "100", "--device", "L40S", "--rate", "1", "--requests", "50"),
    ("plan", "1275x1650", "--output-tokens", "100", "--pages", "1e6/month", "--device", "L40S", "--requests", "50"),
    ("models",),
)
SAME: Final = 0
DIFFERENT: Final = 1
NOT_RUN: Final = 2


def lower_bounds() -> dict[str, str]:
    """The oldest version of each dependency of the core; raises ValueError where one has no bound."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    bounds = {}
    for dependency in dependencies:
        match = re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+)(?:,<[0-9.]+)?", dependency)
        if match is None:
            raise ValueError(f"{dependency} is no name with its oldest version")
        bounds[match[1]] = match[2]
    return bounds


def main(folder: Path) -> int:
    """Make the environment in `folder`, and compare."""
    venv.create(folder, clear=True, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    constraints = folder / "oldest.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in lower_bounds().items()))
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", constraints, ROOT]
    if subprocess.run(pip, check=False).returncode:
        print("lower bounds: NOT RUN, the oldest versions could not be installed (see above)", file=sys.stderr)
        return NOT_RUN
    for asked in ASKED:
        answers = []
        for each in (python, sys.executable):
            command = [each, "-P", "-m", "modelmeter", *asked]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            answers.append((done.returncode, done.stdout, done.stderr))
        if answers[0] != answers[1] or answers[0][0] != 0:
            print(f"lower bounds: {asked[0]}: another answer: {answers[0][2] or 'other figures'}", file=sys.stderr)
            return DIFFERENT
    print(f"lower bounds: the same answer with {', '.join(constraints.read_text().split())}")
    return SAME


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
