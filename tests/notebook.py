"""The notebooks of `examples/`: `make notebooks` runs them and writes what came of it into them.

They are committed with their outputs, so that they can be read without being run; what a kernel adds of its own (its
version, times of execution) is left out, so that a run which changes nothing changes no byte but of pictures.
"""

import os
import tempfile
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient import NotebookClient

ROOT: Final = Path(__file__).parents[1]
NOTEBOOKS: Final = sorted((ROOT / "examples").glob("*.ipynb"))

#: seconds of a cell
TIMEOUT_S: Final = 120


def executed(path: Path) -> Any:
    """The notebook with what its cells give now; raises where one of them fails."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"IPYTHONDIR": folder, "JUPYTER_CONFIG_DIR": folder, "JUPYTER_DATA_DIR": folder}
        client = NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3")
        client.execute(cwd=str(path.parent), env=environment)
    for cell in notebook.cells:
        cell.metadata.clear()
    notebook.metadata.clear()
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook


def texts(notebook: Any) -> list[list[str]]:
    """What each cell of code gives, but for pictures."""
    given = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            data = [{"text": each.text} if each.output_type == "stream" else each.data for each in cell.outputs]
            kinds = [
                (kind, text) for each in data for kind, text in sorted(each.items()) if not kind.startswith("image/")
            ]
            given.append([f"{kind}: {text}" for kind, text in kinds if not str(text).startswith("<Figure size")])
    return given


if __name__ == "__main__":
    for each in NOTEBOOKS:
        nbformat.write(executed(each), each)
