"""What an answer is held against: the published rules, written a second time, the plainest way."""

from __future__ import annotations

from typing import Any

#: grids of more crops are not tried one by one here
MOST_CROPS = 60


def layout(workload: dict[str, Any], width: int, height: int) -> tuple[int, int]:
    """Columns and rows of crops: `dynamic_preprocess` and `find_closest_aspect_ratio` of the published code."""
    if not workload["crop_mode"] or (width <= 640 and height <= 640):
        return 1, 1
    least, most = workload["min_num"], workload["max_num"]
    grids = [
        (columns, crops // columns)
        for crops in range(least, most + 1)
        for columns in range(1, crops + 1)
        if crops % columns == 0
    ]
    nearest, best = float("inf"), (1, 1)
    for columns, rows in grids:
        difference = abs(width / height - columns / rows)
        if difference < nearest:
            nearest, best = difference, (columns, rows)
        elif difference == nearest and width * height > 0.5 * workload["image_size"] ** 2 * columns * rows:
            best = (columns, rows)
    return best


def tokens(workload: dict[str, Any], columns: int, rows: int) -> int:
    """Image tokens of a page: `infer` of the published code."""

    def side(pixels: int) -> int:
        return -(-(pixels // workload["patch_size"]) // workload["downsample_ratio"])

    whole = side(workload["base_size"] if workload["crop_mode"] else workload["image_size"])
    crop = side(workload["image_size"])
    crops = (crop * columns + 1) * crop * rows if columns * rows > 1 else 0
    return (whole + 1) * whole + 1 + crops


def _whole(value: Any) -> int:
    """A count, which stands in JSON as text where a float could not hold it."""
    return int(value)


ADDED = ("tensor_core_flops", "cuda_core_flops", "io_weight_bytes", "io_activation_bytes", "io_kv_bytes")
LARGEST = ("activation_peak_bytes", "resident_peak_bytes")


def page_fault(document: dict[str, Any]) -> str | None:
    """What is wrong with the JSON of `modelmeter page`, whatever the configuration is."""
    workload, runtime = document["configuration"]["workload"], document["configuration"]["runtime"]
    for page in document["pages"]:
        width, height = page["width"], page["height"]
        found = page["layout"]["w_crop"], page["layout"]["h_crop"]
        if workload["max_num"] <= MOST_CROPS:
            expected = layout(workload, width, height)
            if found != expected or page["tokens"]["total"] != tokens(workload, *expected):
                return (
                    f"{width}x{height}: {found}, {page['tokens']}, expected {expected}, {tokens(workload, *expected)}"
                )
        if runtime["prompt"] is None and page["prefill_tokens"] != page["tokens"]["total"] + runtime["prompt_tokens"]:
            return f"{width}x{height}: {page['prefill_tokens']} prefill tokens"
        if fault := _stages_fault(page["stages"]):
            return f"{width}x{height}: {fault}"
    return None


def _stages_fault(stages: dict[str, Any]) -> str | None:
    prefill, decode, total = (stages[name] for name in ("prefill", "decode", "total"))
    for figure in ADDED:
        if _whole(prefill[figure]) + _whole(decode[figure]) != _whole(total[figure]):
            return f"{figure}: prefill and decode are not the total"
        if _whole(stages["vision"][figure]) > _whole(prefill[figure]):
            return f"{figure}: vision is more than the prefill that it is part of"
    for figure in LARGEST:
        if max(_whole(prefill[figure]), _whole(decode[figure])) != _whole(total[figure]):
            return f"{figure}: the total is not the larger of prefill and decode"
    if _whole(total["io_bytes"]) != sum(_whole(total[figure]) for figure in ADDED[2:]):
        return "io_bytes: not the sum of its parts"
    return None
