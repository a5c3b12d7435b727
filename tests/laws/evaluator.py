"""A second reading of docs/laws-format.md: evaluates a file of laws, and imports nothing of this library.

It is written from the format's description alone, as another program's author would, in plain Python and slowly.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

SUMS = (
    "tensor_core_flops",
    "cuda_core_flops",
    "io_weight_bytes",
    "io_activation_bytes",
    "io_kv_bytes",
    "kv_added_bytes",
)
FIGURES = (
    "tensor_core_flops",
    "cuda_core_flops",
    "io_weight_bytes",
    "io_activation_bytes",
    "io_kv_bytes",
    "weight_bytes",
    "activation_peak_bytes",
    "resident_peak_bytes",
    "kv_bytes",
    "kv_added_bytes",
    "peak_path",
    "peak_operator",
)


class Refused(Exception):
    """The model does not take such a page, or the file has no law for it."""


# -- polynomials, conditions ----------------------------------------------------------------------------------------


def parsed(text: str) -> list[tuple[Fraction, list[tuple[str, int]]]]:
    terms = []
    for term in text.split(" + "):
        coefficient, *factors = term.split("*")
        powers = [(name, int(power or 1)) for name, _, power in (factor.partition("^") for factor in factors)]
        terms.append((Fraction(coefficient), powers))
    return terms


class Laws:
    """A file's content."""

    def __init__(self, content: dict[str, Any]) -> None:
        assert (content["format"], content["version"]) == ("modelmeter laws", 2)
        self.content = content
        self.polynomials = [parsed(text) for text in content["polynomials"]]

    def value(self, place: int, variables: dict[str, int]) -> Any:
        total = Fraction(0)
        for coefficient, powers in self.polynomials[place]:
            for name, power in powers:
                coefficient = coefficient * variables[name] ** power
            total += coefficient
        return total.numerator if total.denominator == 1 else total

    def holds(self, place: int, variables: dict[str, int]) -> bool:
        polynomial, outcome, modulus, than = self.content["conditions"][place]
        value = self.value(polynomial, variables)
        if modulus:
            value %= modulus
        return {"==": value == than, "!=": value != than, "<": value < than, ">=": value >= than}[outcome]

    def case(self, families: list[dict[str, Any]], stage: str, kind: str, variables: dict[str, int]) -> dict[str, Any]:
        for family in families:
            if (family["stage"], family["kind"], set(family["variables"])) == (stage, kind, set(variables)):
                for case in family["cases"]:
                    if all(self.holds(each, variables) for each in case["conditions"]):
                        return case
        raise Refused(f"no law for {stage} of {kind or 'any page'} at {variables}")

    # -- pages -------------------------------------------------------------------------------------------------------

    def image(self, model: dict[str, Any], width: int, height: int) -> tuple[str, dict[str, int], int, int]:
        """The kind of the page's layout, its variables, its image tokens, and the markers around them."""
        numbers = followed(model["image"]["steps"], width, height)
        for kind in model["image"]["kinds"]:
            if all(self.holds(each, numbers) for each in kind["conditions"]):
                variables = {name: self.value(place, numbers) for name, place in kind["variables"].items()}
                case = self.case(model["image"]["tokens"], "tokens", kind["name"], variables)
                tokens = self.value(case["image_tokens"], variables)
                return kind["name"], variables, tokens, self.value(kind["markers"], numbers)
        raise Refused("a layout of no kind")

    def figures(self, case: dict[str, Any], variables: dict[str, int]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, law in case.items():
            if name == "conditions":
                continue
            if isinstance(law, int):
                found[name] = self.value(law, variables)
                continue
            sizes = [self.value(place, variables) for place, _, _ in law]
            found[name] = max(sizes)
            if name == "activation_peak_bytes":
                _, found["peak_path"], found["peak_operator"] = law[sizes.index(max(sizes))]
        return found

    def page(self, number: int, width: int, height: int, pages: int, steps: int) -> dict[str, Any]:
        model = self.content["models"][number]
        laws = self.content["laws"][model["laws"]]
        kind, sizes, tokens, markers = self.image(model, width, height)
        seq_len = tokens + markers + model["prompt_tokens"]
        if seq_len + steps > model["max_position_embeddings"]:
            raise Refused("more positions than the model has")
        several = {"pages": pages} if pages > 1 else {}

        def cost(stage: str, kind: str, variables: dict[str, int]) -> dict[str, Any]:
            return self.figures(self.case(laws["figures"], stage, kind, variables), variables)

        stages = {
            "vision": cost("vision", kind, {**sizes, **several}),
            "prefill": cost("prefill", kind, {"seq_len": seq_len, **sizes, **several}),
        }
        prefill = stages["prefill"]
        if steps == 0:
            decode = dict.fromkeys(FIGURES, 0) | {"peak_path": "", "peak_operator": ""}
            decode |= {name: prefill[name] for name in ("weight_bytes", "kv_bytes")}
        elif steps == 1:
            name = "context" if laws["by_context"] else "seq_len"
            decode = cost("step", "", {name: seq_len, **several})
        else:
            decode = cost("decode", "", {"seq_len": seq_len, "steps": steps, **several})
        stages["decode"] = decode
        peak = prefill if prefill["activation_peak_bytes"] >= decode["activation_peak_bytes"] else decode
        stages["total"] = (
            {name: prefill[name] + decode[name] for name in SUMS}
            | {name: max(prefill[name], decode[name]) for name in ("weight_bytes", "resident_peak_bytes")}
            | {name: peak[name] for name in ("activation_peak_bytes", "peak_path", "peak_operator")}
            | {"kv_bytes": decode["kv_bytes"]}
        )
        return {"image_tokens": tokens, "seq_len": seq_len, "stages": stages, "kind": kind, "sizes": sizes}

    # -- times -------------------------------------------------------------------------------------------------------

    def stage_time(
        self, number: int, device: str, stage: str, kind: str, variables: dict[str, int], tokens: int
    ) -> Estimate:
        """Of one pass over `tokens` tokens of all pages together."""
        model = self.content["models"][number]
        laws = self.content["laws"][model["laws"]]
        case = self.case(laws["kernels"], stage, kind, variables)
        known = variables | hit_variables(laws["experts"], tokens)
        device_content = self.content["devices"][device]
        estimate = Estimate()
        squares: dict[str, float] = {}
        for place, count_place in case["kernels"]:
            kernel = self.content["kernels"][place]
            sizes = {name: float(self.value(size, known)) for name, size in kernel["sizes"].items()}
            count = float(self.value(count_place, known))
            if model["bound"]:
                each = bound(device_content, kernel["dtype"], sizes, self.content["constants"])
            else:
                each = seconds(device_content, kernel["class"], kernel["dtype"], sizes, self.content["constants"])
            name = kernel["class"]
            estimate.by_class[name] = estimate.by_class.get(name, 0.0) + each * count
            squares[name] = squares.get(name, 0.0) + (each * count) ** 2
            estimate.launches += count
        if model["bound"]:
            return estimate
        for name, total in estimate.by_class.items():
            constants = device_content["kernels"][name]
            if constants["median"] is not None:
                estimate.widths[name] = math.sqrt(
                    (constants["median"] * total) ** 2 + constants["p90"] ** 2 * squares[name]
                )
                more = self.content["constants"]["pass_error"] * total
                estimate.widths["pass"] = estimate.widths.get("pass", 0.0) + more
        return estimate

    def prefill_time(self, number: int, device: str, page: dict[str, Any], pages: int) -> Estimate:
        several = {"pages": pages} if pages > 1 else {}
        variables = {"seq_len": page["seq_len"], **page["sizes"], **several}
        return self.stage_time(number, device, "prefill", page["kind"], variables, pages * page["seq_len"])

    def decode_time(self, number: int, device: str, seq_len: int, steps: int, pages: int) -> Estimate:
        laws = self.content["laws"][self.content["models"][number]["laws"]]
        several = {"pages": pages} if pages > 1 else {}
        total = Estimate()
        for step in range(steps):
            if laws["by_context"]:
                variables = {"context": seq_len + step}
            else:
                variables = {"seq_len": seq_len} | ({"generated": step} if step else {})
            total.add(self.stage_time(number, device, "step", "", variables | several, pages))
        return total


class Estimate:
    """Seconds by class, how far they may be off by class and of the pass, and the number of kernels."""

    def __init__(self) -> None:
        self.by_class: dict[str, float] = {}
        self.widths: dict[str, float] = {}
        self.launches = 0.0

    def add(self, later: Estimate) -> None:
        for mine, its in ((self.by_class, later.by_class), (self.widths, later.widths)):
            for name, value in its.items():
                mine[name] = mine.get(name, 0.0) + value
        self.launches += later.launches

    @property
    def seconds(self) -> float:
        return sum(self.by_class.values())

    @property
    def interval(self) -> tuple[float, float]:
        relative = math.hypot(*self.widths.values()) / self.seconds
        return self.seconds / (1 + relative), self.seconds * (1 + relative)


def hit_variables(experts: dict[str, Any] | None, tokens: int) -> dict[str, int]:
    """Bytes of experts' weights that a layer reads, and of them what the first of its GEMMs reads."""
    if experts is None:
        return {}
    number, top_k, declared = experts["experts"], experts["top_k"], experts["hit"]
    most = min(number, top_k * tokens)
    if declared == "max":
        hit = Fraction(most)
    elif declared == "uniform":
        hit = number * (1 - (1 - Fraction(top_k, number)) ** tokens) if tokens <= 2000 else Fraction(number)
    else:
        hit = Fraction(min(declared, most))
    up, down = experts["bytes"]
    return {"hit_bytes": round(hit * (up + down)), "up_bytes": round(hit * up)}


# -- what a page becomes --------------------------------------------------------------------------------------------


def followed(steps: list[dict[str, Any]], width: int, height: int) -> dict[str, int]:
    """Columns, rows and tiles that the steps of an image rule make of a page."""
    columns = rows = tiles = 0
    for step in steps:
        do = step["do"]
        longer, shorter = max(width, height), min(width, height)
        if do == "stretch":
            width, height = step["width"], step["height"]
        elif do == "longest_side":
            width, height = (round(side * step["pixels"] / longer) for side in (width, height))
        elif do == "pad_to_ratio":
            if longer > step["ratio"] * shorter:
                least = math.ceil(longer / step["ratio"])
                width, height = max(width, least), max(height, least)
        elif do == "least_edge":
            if shorter < step["pixels"]:
                scale = step["pixels"] / shorter
                whole = {"up": math.ceil, "down": math.floor}[step["whole"]]
                width, height = whole(width * scale), whole(height * scale)
        elif do == "fit_area":
            area = width * height
            if step["most"] is not None and area > step["most"]:
                scale = math.sqrt(step["most"] / area)
                width, height = math.floor(width * scale), math.floor(height * scale)
            elif step["least"] is not None and area < step["least"]:
                scale = math.sqrt(step["least"] / area)
                width, height = math.ceil(width * scale), math.ceil(height * scale)
        elif do == "fit":
            ratio = max(height / step["pixels"], width / step["pixels"])
            if ratio > 1:
                width, height = math.floor(width / ratio), math.floor(height / ratio)
        elif do == "refuse_ratio":
            if longer > step["above"] * shorter:
                raise Refused("too long a page")
        elif do == "smart_resize":
            width, height = smart_resize(width, height, step)
        elif do == "blocks":
            columns, rows = width // step["side"], height // step["side"]
        elif do == "cover":
            side, multiple = step["side"] * step["multiple"], step["multiple"]
            columns, rows = (-(-each // side) * multiple for each in (width, height))
        elif do == "least_side":
            if step["side"] == "height" and height < step["pixels"]:
                width, height = round(width * step["pixels"] / height), step["pixels"]
            if step["side"] == "width" and width < step["pixels"]:
                width, height = step["pixels"], round(height * step["pixels"] / width)
        elif do == "edge_tiles":
            columns, rows, tiles = edge_tiled(width, height, step)
        elif do == "whole":
            columns = rows = 1
        elif do == "tiles":
            columns, rows, tiles = tiled(width, height, step)
        else:
            raise AssertionError(f"no step is called {do}")
    return {"columns": columns, "rows": rows, "tiles": tiles}


def smart_resize(width: int, height: int, step: dict[str, Any]) -> tuple[int, int]:
    multiple, least, most, frames = (step[name] for name in ("multiple", "min_pixels", "max_pixels", "frames"))
    wide, high = round(width / multiple) * multiple, round(height / multiple) * multiple
    if frames * wide * high > most:
        shrink = math.sqrt((frames * width * height) / most)
        return (
            max(multiple, math.floor(width / shrink / multiple) * multiple),
            max(multiple, math.floor(height / shrink / multiple) * multiple),
        )
    if frames * wide * high < least:
        grow = math.sqrt(least / (frames * width * height))
        return math.ceil(width * grow / multiple) * multiple, math.ceil(height * grow / multiple) * multiple
    return wide, high


def edge_tiled(width: int, height: int, step: dict[str, Any]) -> tuple[int, int, int]:
    edges = [step["longest_edge"]]
    if edges[0] > step["most_edge"]:
        edges.append(step["most_edge"])
    for number, edge in enumerate(edges):
        wide, ratio = width >= height, width / height
        other = math.floor(edge / ratio if wide else edge * ratio)
        if number == 0:
            other += other % 2
        other = max(other, 1)
        width, height = (edge, other) if wide else (other, edge)
    wide, ratio = width >= height, width / height
    along = math.ceil(max(width, height) / step["side"])
    length = along * step["side"]
    across = math.ceil(math.floor(length / ratio if wide else length * ratio) / step["side"])
    columns, rows = (along, across) if wide else (across, along)
    return (columns, rows, columns * rows) if columns * rows > 1 else (1, 1, 0)


def tiled(width: int, height: int, step: dict[str, Any]) -> tuple[int, int, int]:
    if max(width, height) <= step["uncut"]:
        return 1, 1, 0
    grids = [
        (columns, rows)
        for columns in range(1, step["most_a_side"] + 1)
        for rows in range(1, step["most_a_side"] + 1)
        if step["least"] <= columns * rows <= step["most"]
    ]
    grids.sort(key=lambda grid: (grid[0] * grid[1], grid[0]))
    best, nearest = (1, 1), math.inf
    for columns, rows in grids:
        distance = abs(width / height - columns / rows)
        large = width * height > 0.5 * step["side"] * step["side"] * columns * rows
        if distance < nearest or (distance == nearest and large):
            best, nearest = (columns, rows), distance
    return (*best, best[0] * best[1])


# -- the time of a kernel -------------------------------------------------------------------------------------------


def bound(device: dict[str, Any], dtype: str, sizes: dict[str, float], constants: dict[str, Any]) -> float:
    rates = device["bound"]
    found = max(sizes["vector_flops"] / rates["vector"], sizes["nbytes"] / rates["bandwidth"])
    if sizes["flops"]:
        found = max(found, sizes["flops"] / rates["peaks"][peak_name(dtype, constants)])
    return found + rates["launch_s"]


def peak_name(dtype: str, constants: dict[str, Any]) -> str:
    return "fp32" if dtype == "float32" else constants["peak_of_dtype"].get(dtype, dtype)


def overlapped(compute: float, memory: float, overlap: float) -> float:
    return max(compute, memory) + overlap * min(compute, memory)


def seconds(
    device: dict[str, Any], kernel_class: str, dtype: str, sizes: dict[str, float], constants: dict[str, Any]
) -> float:
    c = device["kernels"][kernel_class]["values"]
    moving = ("elementwise", "copy", "strided")
    peak = 0.0 if kernel_class in moving else device["peaks"][peak_name(dtype, constants)]
    if kernel_class == "gemm":
        return gemm(device, c, peak, sizes, constants)
    if kernel_class == "moe":
        return moe(device, c, peak, sizes, constants)
    if kernel_class in ("context_attention", "encoder_attention"):
        found = prefill_attention(device, c, peak, sizes, constants, causal=kernel_class == "context_attention")
        return without_write(device, found, sizes, constants) if kernel_class == "context_attention" else found
    if kernel_class == "generation_attention":
        return without_write(device, generation_attention(device, c, sizes, constants), sizes, constants)
    if kernel_class == "bias_attention":
        work = sizes["flops"] / (c["matmul"] * peak) + sizes["nbytes"] / (c["bytes_per_flop"] * device["vector"])
        return c["overhead_s"] + max(work, sizes["nbytes"] / device["bandwidth"])
    if kernel_class == "convolution":
        matrix = sizes["channels"] % constants["aligned_channels"] == 0
        rate = c["matmul"] * peak if matrix else c["vector"] * device["vector"]
        work = max(sizes["flops"] / rate, sizes["nbytes"] / device["bandwidth"])
        return c["overhead_s"] + c["depth_s"] * sizes["depth"] + work
    if kernel_class == "strided":
        within = sizes["elements"] / (c["elements_per_flop"] * device["vector"])
        return c["overhead_s"] + max(beyond_cache(device, c, sizes["nbytes"], constants), within)
    assert kernel_class in ("elementwise", "copy")
    return moving_seconds(device, c, sizes["nbytes"], constants)


def beyond_cache(device: dict[str, Any], c: dict[str, float], nbytes: float, constants: dict[str, Any]) -> float:
    held = min(constants["held"] * device["l2_bytes"], nbytes)
    return (nbytes - held) / (c["bandwidth"] * device["bandwidth"])


def moving_seconds(device: dict[str, Any], c: dict[str, float], nbytes: float, constants: dict[str, Any]) -> float:
    within = nbytes / (c["bytes_per_flop"] * device["vector"])
    return c["overhead_s"] + max(beyond_cache(device, c, nbytes, constants), within)


def without_write(device: dict[str, Any], found: float, sizes: dict[str, float], constants: dict[str, Any]) -> float:
    if "copy" not in device["kernels"]:
        return found
    nbytes = 8 * sizes["batch"] * sizes["kv_heads"] * sizes.get("length", 1) * sizes["head_dim"]
    return max(found - moving_seconds(device, device["kernels"]["copy"]["values"], nbytes, constants), 0.0)


def gemm(device: dict[str, Any], c: Any, peak: float, sizes: dict[str, float], constants: dict[str, Any]) -> float:
    rows, columns, batch = (max(sizes[name], 1) for name in ("rows", "columns", "batch"))
    processors = device["processors"]
    a_second = c["matmul"] * peak / processors
    large_rows, large_columns = constants["largest_tile"]

    def side(high: int, wide: int) -> float:
        half = high * wide / (high + wide)
        return half / (half + c["tile_half"])

    best = math.inf
    shapes = [(high, wide) for high, wide in constants["few_rows_tiles"] if high >= int(c["least_rows"])]
    for high in constants["tiles"]:
        for wide in constants["tiles"]:
            if min(high, wide) < int(c["tile"]) or high > 2 * wide or wide > 2 * high:
                continue
            if high * wide <= large_rows * large_columns:
                shapes.append((high, wide))
    for high, wide in shapes:
        reached = side(high, wide) / side(large_rows, large_columns)
        tiles = batch * math.ceil(rows / high) * math.ceil(columns / wide)
        a_tile = high * wide * (sizes["flops"] / (rows * columns)) / (batch * reached * a_second)
        for parts in constants["splits"]:
            even = tiles * parts / processors
            waves = even + c["waves"] * (math.ceil(even) - even)
            found = waves * a_tile / parts
            if parts > 1:
                found += c["split_s"] + 8 * parts * batch * rows * columns / device["bandwidth"]
            best = min(best, found)
    memory = sizes["nbytes"] / (c["bandwidth"] * device["bandwidth"])
    return c["overhead_s"] + overlapped(best, memory, c["overlap"])


def moe(device: dict[str, Any], c: Any, peak: float, sizes: dict[str, float], constants: dict[str, Any]) -> float:
    rows = max(sizes["rows"] / (sizes["weight_bytes"] / sizes["expert_bytes"]), 1)
    if rows <= c["few"]:
        tile = constants["fewest_rows"]
    else:
        tile = c["tile_least"]
        while tile < c["tile"] and rows > tile:
            tile *= 2
    padded = math.ceil(rows / tile) * tile / rows
    compute = sizes["flops"] * padded / (c["matmul"] * peak)
    memory = sizes["weight_bytes"] / (c["bandwidth"] * device["bandwidth"])
    slower = c["misaligned"] if sizes["width"] % constants["aligned_width"] else 1
    between = c["activations"] * sizes["activation_bytes"] / device["bandwidth"]
    return c["overhead_s"] / sizes["of_a_block"] + slower * overlapped(compute, memory, c["overlap"]) + between


def prefill_attention(
    device: dict[str, Any], c: Any, peak: float, sizes: dict[str, float], constants: dict[str, Any], *, causal: bool
) -> float:
    batch, heads, kv_heads, length, head_dim = (
        sizes[name] for name in ("batch", "heads", "kv_heads", "length", "head_dim")
    )
    widths, processors = constants["head_widths"], device["processors"]
    rows = c["tile_rows_wide"] if head_dim > widths[1] else c["tile_rows"]
    keys = c["tile_keys"]
    width = next((each for each in widths if head_dim <= each), widths[-1])
    query_tiles, key_tiles = math.ceil(length / rows), math.ceil(length / keys)
    blocks = batch * heads * query_tiles
    seen = min((query_tiles + 1) / 2 * rows / keys, key_tiles) if causal else key_tiles
    idle = math.ceil(blocks / processors) * processors / blocks - 1
    load = blocks * seen / processors * (1 + c["waves"] * idle) + c["chain"] * key_tiles
    products = 4 * rows * keys * width * processors / (c["matmul"] * peak)
    exponentials = rows * keys * processors / (c["exponentials"] * device["vector"])
    memory = 4 * batch * (heads + kv_heads) * length * head_dim / (c["bandwidth"] * device["bandwidth"])
    return c["overhead_s"] + overlapped(load * (products + exponentials), memory, c["overlap"])


def generation_attention(device: dict[str, Any], c: Any, sizes: dict[str, float], constants: dict[str, Any]) -> float:
    batch, heads, kv_heads, keys, head_dim = (
        sizes[name] for name in ("batch", "heads", "kv_heads", "keys", "head_dim")
    )
    grouped = heads != kv_heads
    a_key = c["grouped_key_s"] if grouped else c["key_s"]
    work = c["tile_s"] * batch * kv_heads / device["processors"] + a_key * keys * head_dim / 128
    memory = 4 * batch * (heads + kv_heads * keys) * head_dim / (c["bandwidth"] * device["bandwidth"])
    split = c["split_s"] if grouped and keys > constants["split_keys"] else 0.0
    return c["overhead_s"] + split + overlapped(work, memory, c["overlap"])
