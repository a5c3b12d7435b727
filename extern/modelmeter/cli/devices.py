"""`modelmeter devices`: what the known devices offer, and where that is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from modelmeter.cli.arguments import Order, complete_device, debug_option, json_option
from modelmeter.cli.output import rendered, write

if TYPE_CHECKING:
    from modelmeter.devices import Device


def _peak(name: str) -> tuple[Callable[[Device], Any], bool]:
    return lambda device: device.matmul_flops_per_s.get(name), True


ORDER: Final[Order[Device]] = Order(
    {
        "memory": (lambda device: (device.memory_bytes, device.memory_bandwidth_bytes_per_s), True),
        "bandwidth": (lambda device: device.memory_bandwidth_bytes_per_s, True),
        **{name: _peak(name) for name in ("bf16", "fp16", "tf32", "fp32", "fp8", "int8", "fp4")},
        "vector": (lambda device: device.vector_flops_per_s, True),
        "name": (lambda device: device.name.lower(), False),
    },
    "memory",
)


@click.command(short_help="The known devices: memory, bandwidth, peaks, sources.")
@click.argument("names", nargs=-1, metavar="[DEVICE]...", shell_complete=complete_device)
@ORDER.option
@json_option
@debug_option
def command(names: tuple[str, ...], sort: str, as_json: bool) -> None:
    """List the bundled devices, or say of each DEVICE all that its file says, sources included.

    DEVICE is the name of a bundled device, in any case, or the path of a YAML file of your own.
    """
    from modelmeter.devices import bundled_devices, load_device
    from modelmeter.report import throughput_tables

    devices = [load_device(name) for name in names] if names else ORDER.sorted(bundled_devices(), sort)
    if as_json:
        from modelmeter.report.json_document import json_text

        write(json_text("devices", {"devices": [throughput_tables.device_content(device) for device in devices]}))
    elif names:
        write(rendered(*(part for device in devices for part in (throughput_tables.device_lines(device), ""))))
    else:
        write(
            rendered(
                throughput_tables.devices_table(devices),
                "",
                "MiB are 2^20 bytes, GB 10^9; peaks are dense, without sparsity; DEVICE: sources",
            )
        )
