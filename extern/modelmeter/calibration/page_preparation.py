"""What preparing a page takes the host at hand: reading or rendering it, resizing it to its views, making tensors.

The steps are those of a model's preprocessing, in Pillow and NumPy on one core, as engines run them without
torchvision: decode (or render, of a PDF), resize the page's part for each view, then to float32, scaled and normalised,
channels first. Padding is left out: a view that the model pads is resized to its whole size here.
Tokenising, HTTP and the engine's own Python are no part of it, and a size without a file is drawn: lines of noise as
a scan has them, encoded as PNG.

    >>> prepared = measure("page.png", lambda: read_page("page.png"), cost_model.page(1275, 1650).views, repeats=5)
    >>> prepared.seconds
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from statistics import median
from typing import TYPE_CHECKING, Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import Views

if TYPE_CHECKING:
    from PIL.Image import Image

#: of the noise of a drawn page: the same every time
_SEED: Final = 7
#: pixels of a line of a drawn page and of the space to the next
_LINE: Final = 24


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Seconds of one core for a page, the median of some times. read_s: decoding, or rendering where `rendered`."""

    source: str
    width: int
    height: int
    rendered: bool
    read_s: float
    resize_s: float
    tensors_s: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.read_s + self.resize_s + self.tensors_s

    @property
    def pages_per_s(self) -> float:
        """Pages a second and core."""
        return 1 / self.seconds


def measure(
    source: str, read: Callable[[], Image], views: Sequence[Views], *, repeats: int, rendered: bool = False
) -> Preparation:
    """Prepare a page `repeats` times. read: makes its picture; views: what the model looks at."""
    try:
        import numpy  # noqa: F401 - refused here, in words
    except ImportError as error:
        raise ModelMeterError(f"host needs numpy ({error}); pip install numpy.") from error
    taken: list[tuple[float, float, float]] = []
    size = (0, 0)
    for _ in range(repeats):
        start = time.perf_counter()
        picture = read()
        read_at = time.perf_counter()
        tiles = [tile for each in views for tile in _views(picture, each)]
        resized_at = time.perf_counter()
        for tile in tiles:
            _tensor(tile)
        taken.append((read_at - start, resized_at - read_at, time.perf_counter() - resized_at))
        size = picture.size
    read_s, resize_s, tensors_s = (median(each) for each in zip(*taken, strict=True))
    return Preparation(
        source=source,
        width=size[0],
        height=size[1],
        rendered=rendered,
        read_s=read_s,
        resize_s=resize_s,
        tensors_s=tensors_s,
    )


def _views(picture: Image, views: Views) -> list[Image]:
    """The page as one batch of views shows it: each its part of the page, resized."""
    from PIL.Image import Resampling

    width, height = picture.width / views.columns, picture.height / views.rows
    return [
        picture.resize(
            (views.width, views.height),
            Resampling.BICUBIC,
            box=(column * width, row * height, (column + 1) * width, (row + 1) * height),
        )
        for row in range(views.rows)
        for column in range(views.columns)
    ]


def _tensor(view: Image) -> object:
    """float32 [3, height, width], from -1 to 1."""
    import numpy as np

    values = np.asarray(view, np.float32)
    return np.ascontiguousarray(((values / 255 - 0.5) / 0.5).transpose(2, 0, 1))


def drawn_page(width: int, height: int) -> Callable[[], Image]:
    """What reads a page of this size that nobody has: dark lines on a light ground, with the noise of a scan."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(_SEED).normal(0, 6, (height, width))
    lines = np.where((np.arange(height) // (_LINE // 2)) % 2, 235.0, 60.0)[:, None]
    page = Image.fromarray(np.clip(lines + noise, 0, 255).astype(np.uint8)).convert("RGB")
    stream = BytesIO()
    page.save(stream, "PNG")
    encoded = stream.getvalue()

    def read() -> Image.Image:
        with Image.open(BytesIO(encoded), formats=["PNG"]) as image:
            return image.convert("RGB")

    return read
