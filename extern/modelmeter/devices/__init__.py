"""Devices: what they offer, how long operators take on them, and what follows: pages a day, latency, cost."""

from modelmeter.devices.device import Device, Efficiency, Source, bundled_devices, device_names, load_device
from modelmeter.devices.page_memory import DoesNotFit, MemoryNeed
from modelmeter.devices.page_time import time_page
from modelmeter.devices.pages import PageKind
from modelmeter.devices.roofline import BOUNDS, OperatorTime, Roofline, StageTime, StepTimes
from modelmeter.devices.throughput import (
    NOT_MODELLED,
    Concurrency,
    Figure,
    Interval,
    KindTime,
    Rates,
    Throughput,
    compute_throughput,
    smallest_device,
)

__all__ = [
    "BOUNDS",
    "NOT_MODELLED",
    "Concurrency",
    "Device",
    "DoesNotFit",
    "Efficiency",
    "Figure",
    "Interval",
    "KindTime",
    "MemoryNeed",
    "OperatorTime",
    "PageKind",
    "Rates",
    "Roofline",
    "Source",
    "StageTime",
    "StepTimes",
    "Throughput",
    "bundled_devices",
    "compute_throughput",
    "device_names",
    "load_device",
    "smallest_device",
    "time_page",
]
