"""Loading: what the weights take before the first page, beside themselves.

`direct`: they arrive on the device in the type that the model runs in, whatever the host does to them before.
`float32_on_device`: all of them are brought there in float32 and then converted, `model.cuda().to(dtype)`, as the
published example does. `torch.nn.Module.to` converts tensor by tensor, so a tensor and its copy are there together with
the copies made before and with the float32 of all that follow. Buffers, a few kB, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from modelmeter.errors import ModelMeterError, near
from modelmeter.operators import Parameter
from modelmeter.units import ITEMSIZE

#: the stage's name in `vram()`
LOAD: Final = "load"

DIRECT: Final = "direct"
FLOAT32_ON_DEVICE: Final = "float32_on_device"
LOADS: Final = (DIRECT, FLOAT32_ON_DEVICE)


def load_bytes(load: str, parameters: Iterable[Parameter]) -> int:
    """Bytes on the device at the peak of loading, the weights in the model's type not counted.

    parameters: in the order in which they are converted.
    """
    if load not in LOADS:
        raise ModelMeterError(f"runtime: load={load} is unknown; {near(load, LOADS)}")
    if load == DIRECT:
        return 0
    every = list(parameters)
    held = peak = sum(each.numel * ITEMSIZE["float32"] for each in every)
    for each in every:
        float32_bytes = each.numel * ITEMSIZE["float32"]
        if each.dtype != "float32":  # else it is what it is to be: nothing is copied
            peak = max(peak, held + each.nbytes)
            held += each.nbytes - float32_bytes
    return peak - sum(each.nbytes for each in every)
