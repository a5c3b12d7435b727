"""`modelmeter devices`: what the known devices offer, and where that is published."""

from __future__ import annotations

import click

from modelmeter.cli.arguments import debug_option, json_option
from modelmeter.cli.output import rendered, write


@click.command(short_help="The known devices: memory, bandwidth, peaks, sources.")
@click.argument("names", nargs=-1, metavar="[DEVICE]...")
@json_option
@debug_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List the bundled devices, or say of each DEVICE all that its file says, sources included.

    DEVICE is the name of a bundled device, in any case, or the path of a YAML file of your own.
    """
    from modelmeter.devices import bundled_devices, load_device
    from modelmeter.report import throughput_tables

    devices = [load_device(name) for name in names] if names else bundled_devices()
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
