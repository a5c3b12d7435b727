"""Published sweeps of concurrency and of host workers, beside the simulation with the steps' predicted times.

Nothing of these cells is in any constant, but for the host: `engine=sglang` has its seconds a page and its workers from
the times to the first token of the first sweep (models/common/configs/engine/sglang.yaml).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from modelmeter import load_cost_model
from modelmeter.devices import PageKind, load_device
from modelmeter.simulation.load import Simulation, simulate

#: requests of each cell
REQUESTS: Final = 200


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Cells of one page on one device. published: by requests in flight, or by workers, requests a second and where
    they are known seconds between tokens and to the first one."""

    source: str
    model: str
    overrides: tuple[str, ...]
    device: str
    page: tuple[int, int]
    output_tokens: int
    in_flight: tuple[int, ...]
    workers: tuple[int, ...]
    published: tuple[tuple[float, ...], ...]

    def simulated(self) -> list[Simulation]:
        """Each cell, in the order of what was published."""
        found = []
        for workers in self.workers:
            model = load_cost_model(["engine=sglang", f"host.workers={workers}", *self.overrides], model=self.model)
            pages = [PageKind(page=model.page(*self.page), output_tokens=self.output_tokens)]
            device = load_device(self.device)
            found += [simulate(model, device, pages, in_flight=each, requests=REQUESTS) for each in self.in_flight]
        return found


#: Jina-OCR has DeepSeek-OCR's backbone and up to 9 crops; its letter page has 903 image tokens, as here. The edition of
#: the card is not said. BF16, radix cache off; 7, 28 and 56 requests a cell
JINA: Final = tuple(
    Sweep(
        source="sgl-project/sglang PR 40112",
        model="deepseek_ocr",
        overrides=("workload.max_num=9",),
        device="RTX-PRO-6000",
        page=page,
        output_tokens=output_tokens,
        in_flight=(1, 4, 16),
        workers=(2,),
        published=published,
    )
    for page, output_tokens, published in (
        ((1275, 1650), 603, ((0.97, 0.00132, 0.24), (2.22, 0.00246, 0.20), (4.39, 0.00493, 0.34))),
        ((850, 1100), 640, ((0.95, 0.00133, 0.20), (2.18, 0.00249, 0.17), (4.23, 0.00493, 0.33))),
        ((612, 792), 640, ((0.91, 0.00135, 0.24), (2.07, 0.00251, 0.25), (4.24, 0.00487, 0.33))),
    )
)

#: with one worker, two and four, requests a second
PADDLE_CELLS: Final = ((6.72,), (9.55,), (8.92,))

#: The image processor takes 87 ms a page, and one worker's cell comes to 1 / 6.72 s: both as seconds a page of a worker
PADDLE: Final = tuple(
    Sweep(
        source="sgl-project/sglang PR 35318",
        model="paddleocr_vl",
        overrides=(f"host.seconds_per_page={seconds:.4g}",),
        device="H200",
        page=(1920, 1080),
        output_tokens=128,
        in_flight=(32,),
        workers=(1, 2, 4),
        published=PADDLE_CELLS,
    )
    for seconds in (0.087, 1 / PADDLE_CELLS[0][0])
)
