"""Granite-Docling on an engine at its best: its connector kernel by kernel, features in norms, less than theirs."""

import pytest

from modelmeter.models.granite_docling import PatchesGrid, load_cost_model
from tests.models.granite_docling.small import OVERRIDES

#: of the small model: width of tower and decoder; patches of a view, tiles and pages; bytes of an element
D, TEXT, T, E = 48, 96, 64, 2
PAGES, VIEWS = 2, 3
N = PAGES * VIEWS
ROWS = N * T * D


@pytest.mark.parametrize(("route", "scale"), [("coarse", 4), ("fine", 2)])
def test_the_connector_kernel_by_kernel(route: str, scale: int) -> None:
    """Bytes read and written: of the tokens, and of the features of two taps."""
    small = (f"workload.route={route}", "execution=serving", f"runtime.batch_size={PAGES}")
    model = load_cost_model([*OVERRIDES, *small])
    records = model.stage_walk("vision", page=model.layout_cost(PatchesGrid(2, 2, 1))).records()
    tokens, merged = N * T // scale**2, D * scale**2
    made = tokens * TEXT
    norm = "fused.layer_norm"

    def linear(width: int, bias: bool) -> tuple[str, int, int]:
        name = "aten.addmm.default" if bias else "aten.mm.default"
        return name, E * (tokens * width + width * TEXT + (TEXT if bias else 0)), E * made

    shuffle = ("fused.pixel_shuffle", E * ROWS, E * ROWS)
    tap = [
        shuffle,
        (norm, E * (ROWS + 2 * merged), E * ROWS),
        linear(merged, True),
        ("fused.gelu", E * made, E * made),
        linear(TEXT, True),
    ]
    expected = [
        (norm, E * (ROWS + 2 * D), E * ROWS),
        shuffle,
        linear(merged, False),
        ("fused.add_positions", E * (made + T // scale**2 * TEXT), E * made),
        *tap,
        *tap,
        (norm, E * (made + 2 * TEXT), E * made),
        ("fused.gelu", E * made, E * made),
        linear(TEXT, False),
        (norm, E * (made + 2 * TEXT), E * made),
    ]
    connector = [each for each in records if each.path.startswith("vision_model.connector")]
    assert [(each.aten, each.bytes_read, each.bytes_written) for each in connector] == expected


def test_features_are_added_in_the_norms_of_the_layers_behind() -> None:
    """Of two taps, after the first and the second layer; a page without pictures has none, and fewer bytes."""
    model = load_cost_model([*OVERRIDES, "execution=serving"])
    layout = PatchesGrid(2, 2, 1)
    page = model.layout_cost(layout)
    with_image, without = (
        {each.path: each.bytes_read for each in records if each.aten == "fused.add_rms_norm"}
        for records in (
            list(model.stage_walk("prefill", page=page).records()),
            list(model._prefill_walk(page.seq_len, None)[0].records()),
        )
    )
    tokens = page.tokens.total
    more = {path: read - without[path] for path, read in with_image.items() if read != without[path]}
    each = E * tokens * TEXT + 8 * tokens  # features, and where they go
    assert more == {"layers.1.input_layernorm": each, "layers.2.input_layernorm": each}


@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize("route", ["coarse", "fine"])
def test_the_same_products_and_less_of_everything_else(pages: int, route: str) -> None:
    runtime = (f"workload.route={route}", f"runtime.batch_size={pages}")
    theirs, ours = (load_cost_model([f"execution={name}", *runtime]) for name in ("transformers", "serving"))
    layout = PatchesGrid(12, 3, 4)
    for stage in ("vision", "prefill", "decode"):
        other, best = (getattr(model.layout_cost(layout, 5), stage) for model in (theirs, ours))
        assert best.tensor_core_flops == other.tensor_core_flops
        assert (best.weight_bytes, best.kv_bytes) == (other.weight_bytes, other.kv_bytes)
        assert best.io_bytes < other.io_bytes
        assert best.activation_peak_bytes <= other.activation_peak_bytes
