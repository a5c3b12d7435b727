"""How long one page takes on a device, asked in one call.

>>> from modelmeter import load_cost_model
>>> page = load_cost_model(["engine=vllm"]).page(1275, 1650, output_tokens=1000)
>>> alone = time_page(page, "H100-SXM")
>>> alone.batch_size, alone.limited_by
(1, 'device and host, one after the other')

The engine whose kernels, memory and host these are is the cost model's: `load_cost_model(["engine=vllm"])`. Experts
are hit as even choices hit them, unless `runtime.experts_hit` says how many.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from modelmeter.devices.device import Device, load_device
from modelmeter.devices.pages import PageKind
from modelmeter.devices.throughput import Throughput, compute_throughput
from modelmeter.errors import ModelMeterError, shown, type_of

if TYPE_CHECKING:
    from fractions import Fraction

    from modelmeter.models.common.contract import PageCost


def time_page(
    page: PageCost,
    device: Device | str | os.PathLike[str],
    *,
    batch_size: int | None = 1,
    price_per_hour: float | Fraction | None = None,
    float32: str = "fp32",
) -> Throughput:
    """The seconds of a page and its decode steps, each with an interval; `print` shows them.

    page: of a cost model of one page at a time. device: the name of a bundled one, as in "H100-SXM", or the path of a
    device file of your own. batch_size: pages like this one that decode together; None: as many as fit.
    price_per_hour: of the device. float32: the peak of float32 GEMMs, "fp32" or "tf32".

    `interval("page_latency_s")` of the result is (value, low, high): from the page's arrival to its last token;
    "ttft_s", "tpot_s", "prefill_s", "pages_per_s" and the others are in docs/throughput.md, and `figures()` lists them
    all, as `pandas.DataFrame(result.figures())` does. Raises `ModelMeterError` for a device that is unknown, or that
    the page does not fit.
    """
    if not hasattr(page, "cost_model"):
        raise ModelMeterError(
            f"time_page: page is of type {type(page).__name__}; give a page's cost, as in cost_model.page(1275, 1650)."
        )
    kind: PageKind[Any] = PageKind(page=page, output_tokens=page.output_tokens)
    return compute_throughput(
        page.cost_model,
        _device(device),
        [kind],
        batch_size=batch_size,
        price_per_hour=price_per_hour,
        float32=float32,
    )


def _device(device: object) -> Device:
    if isinstance(device, Device):
        return device
    if isinstance(device, str | os.PathLike):
        return load_device(device)
    raise ModelMeterError(
        f'time_page: device={shown(device)} is {type_of(device)}; give a device\'s name, as in "H100-SXM", or '
        "the path of its YAML file."
    )
