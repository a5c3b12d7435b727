"""How all plots look, and come out: the same byte for byte, without date or version, with fixed identifiers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Final

from modelmeter.errors import ModelMeterError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: metadata of each format, so that neither date nor version is written
FORMATS: Final[Mapping[str, Mapping[str, None]]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}

#: told apart with every common kind of colour blindness (Okabe and Ito)
COLOURS: Final = ("#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#999999")

STYLE: Final = {
    "svg.hashsalt": "modelmeter",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.dpi": 80,
}

#: the largest value over the smallest that one linear axis shows
LINEAR_UP_TO: Final = 20


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's defaults and `STYLE`, whatever the user's own settings are."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def figure_file(figure: Figure, extension: str) -> bytes:
    """A figure as a file of one of `FORMATS`."""
    file = BytesIO()
    figure.savefig(file, format=extension, metadata=dict(FORMATS[extension]))
    return file.getvalue()


def check_matplotlib(otherwise: str) -> None:
    """Raise `ModelMeterError` where figures cannot be drawn. otherwise: what there is without them."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ModelMeterError(f"sweep: figures need matplotlib; pip install matplotlib, or {otherwise}.") from error
