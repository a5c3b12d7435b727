"""What `.cpu()` leaves alive on a device, by hand, where a CPU stands for it."""

import pytest
import torch

from modelmeter.reference.host_copies import HostCopies
from modelmeter.reference.measurement import measure
from modelmeter.reference.memory import LiveSet

ROWS = 64


def counted(x: torch.Tensor) -> object:
    """Numbers that the host takes, under the name of the tensor that they came from, then work on the device."""
    counts = x + 1
    counts = counts.cpu().numpy()
    return counts, x * 2


def test_what_the_host_takes_is_no_memory_of_the_device() -> None:
    x = torch.zeros(ROWS, dtype=torch.int64)
    measured = measure(None, lambda: counted(x), device="cpu")
    assert measured.activation_peak_bytes == 8 * ROWS  # counts, and then what replaces it: never both
    assert measured.live_series[-1] == ("aten.mul.Tensor", 8 * ROWS)
    with torch.no_grad(), LiveSet(device="cpu") as live:
        counted(x)
    assert live.peak_bytes == 2 * 8 * ROWS  # a CPU's own: the array is the tensor's memory


def test_the_copy_has_the_values_and_is_no_traffic() -> None:
    x = torch.arange(ROWS)
    kept: list[torch.Tensor] = []
    measured = measure(None, lambda: kept.append((x + 1).cpu()), device="cpu")
    assert kept[0].tolist() == list(range(1, ROWS + 1))
    assert [row.operator for row in measured.operator_traffic] == ["aten.add.Tensor"]


@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_where_the_cpu_is_no_device_nothing_is_copied(device: str) -> None:
    x = torch.zeros(3)
    with HostCopies(device):
        assert x.cpu() is x
    with HostCopies("cpu"):
        assert x.cpu() is not x
