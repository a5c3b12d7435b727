"""A report's roofline: the kernels of a page's stages as points under the roofs of a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from modelmeter.devices import Device
from modelmeter.devices.device import PEAK_OF_DTYPE
from modelmeter.report import charts
from modelmeter.report.document import Chart, Section, share_text
from modelmeter.report.origins import ROOFLINE
from modelmeter.report.parts import TimedOperator, WalkedStage, module_name

#: kernels that are named
NAMED_KERNELS: Final = 10
#: of a stage's time: what a point that is drawn takes at least
DRAWN_SHARE: Final = 0.001


def roofline_section(stages: Sequence[WalkedStage], device: Device, timed: str) -> Section:
    """The section; timed: where the operators' times come from."""
    silent = []
    points: list[charts.RooflinePoint] = []
    dtypes = set()
    for stage in stages:
        total = stage.seconds
        moved = 0.0
        alike: dict[object, list[TimedOperator]] = {}
        for each in stage.operators:
            record = each.record
            if record.tensor_core_flops:
                dtypes.add(PEAK_OF_DTYPE.get(record.dtype, record.dtype))
            if not record.tensor_core_flops + record.cuda_core_flops or not record.bytes_read + record.bytes_written:
                moved += each.seconds
                continue
            key = module_name(record.path), record.aten, record.inputs, record.outputs, each.bound
            alike.setdefault(key, []).append(each)
        points += [_point(stage.name, each, total) for each in alike.values()]
        silent.append(f"{share_text(moved / total)} of the {stage.name}'s time")
    # as many of each stage as there are of stages, since a step is run many times
    longest = {
        point: None
        for stage in stages
        for point in sorted((each for each in points if each.stage == stage.name), key=lambda each: -each.seconds)[
            : NAMED_KERNELS // len(stages)
        ]
    }
    numbered = [*longest, *(point for point in points if point not in longest)]
    drawn = [point for point in numbered if point in longest or point.share >= DRAWN_SHARE]
    small = {
        stage.name: sum(point.share for point in points if point.stage == stage.name and point not in drawn)
        for stage in stages
    }
    roofs = {peak: float(device.matmul_rate(peak)) for peak in device.matmul_flops_per_s if peak in dtypes}
    roofs = charts.merged_roofs(roofs | {"vector": float(device.vector_rate)})
    bandwidth = float(device.bandwidth)
    lies = (
        "as high as the roofline model lets it: on the slope, memory bounds it; under a flat roof, computing does"
        if timed == ROOFLINE
        else "as high as its estimated time makes it; the gap to the roof above it is what the device loses there, "
        "and above the slope is what finds its data in the cache"
    )
    return Section(
        key="roofline",
        title="Roofline",
        blocks=[
            Chart(
                key="roofline",
                title=f"Kernels under the roofs of {device.name}, the {len(longest)} longest named",
                svg=charts.roofline_chart(drawn, len(longest), roofs, bandwidth),
                caption="A point is a kernel, or several that are alike; its area is their share of the stage's "
                f"time. It lies {lies}. Kernels that compute nothing are not drawn; they take "
                f"{' and '.join(silent)}. Nor are points of less than {share_text(DRAWN_SHARE)}, together "
                f"{' and '.join(f'{share_text(each)} of the {stage}' for stage, each in small.items())}.",
                data={
                    "roofs_flops_per_s": roofs,
                    "bytes_per_s": bandwidth,
                    "times": timed,
                    "named": len(longest),
                    "points": [point._asdict() for point in numbered],
                },
            )
        ],
    )


def _point(stage: str, alike: Sequence[TimedOperator], total: float) -> charts.RooflinePoint:
    """Kernels alike as a point. total: seconds of the stage."""
    record, bound = alike[0].record, alike[0].bound
    flops = sum(each.record.tensor_core_flops + each.record.cuda_core_flops for each in alike)
    nbytes = sum(each.record.bytes_read + each.record.bytes_written for each in alike)
    seconds = sum(each.seconds for each in alike)
    groups = {"matmul": "GEMMs", "attention": "attention"}
    return charts.RooflinePoint(
        stage=stage,
        operator=record.aten,
        path=module_name(record.path),
        group=groups.get(record.kind, "others"),
        bound=bound,
        times=len(alike),
        flops_per_byte=flops / nbytes,
        flops_per_s=flops / seconds,
        seconds=seconds,
        share=seconds / total,
    )
