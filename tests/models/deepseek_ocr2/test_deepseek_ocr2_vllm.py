"""DeepSeek-OCR-2 as vLLM launches it: the encoder's mask and a page by hand, its layers by those of transformers."""

from collections import Counter

from modelmeter.models.deepseek_ocr2 import CostModel, PatchesGrid, load_cost_model
from modelmeter.walk import OperatorRecord
from tests.models.deepseek_ocr2.small import OVERRIDES

#: patches of a view, as many queries, positions; bytes of an element and of an index
N, T, E, INDEX = 256, 512, 2, 8
UNCUT = PatchesGrid(0, 1, 1)


def model_of(execution: str, *overrides: str) -> CostModel:
    return load_cost_model([*OVERRIDES, f"execution={execution}", *overrides])


def vision(model: CostModel, layout: PatchesGrid) -> list[OperatorRecord]:
    return list(model.stage_walk("vision", page=model.layout_cost(layout)).records())


def test_the_mask_by_hand() -> None:
    """Least numbers all over; 0 among the patches, then in each query's row: the patches, and the queries so far."""
    number = ("aten.scalar_tensor.default", 0, E)

    def put(places: int, dimensions: int) -> list[tuple[str, int, int]]:
        copies = [("aten._to_copy.default", places * INDEX, places * INDEX)] * dimensions
        return [number, *copies, ("aten.index_put_.default", dimensions * places * INDEX + E, places * E)]

    expected = [("aten.full.default", 0, T * T * E), *put(N * N, 2)]
    for query in range(N):
        expected += put(N, 1) + put(query + 1, 1)
    expected.append(("aten.cat.default", T * T * E, T * T * E))
    records = [each for each in vision(model_of("vllm"), UNCUT) if each.path == "global.qwen2_model.model"]
    assert len(expected) == 1541 + 1
    assert [(each.aten, each.bytes_read, each.bytes_written) for each in records[: len(expected)]] == expected
    assert [each.aten for each in records[len(expected) :]] == ["aten.arange.default", "aten.add.Tensor"]


def test_each_tile_has_a_mask_of_its_own() -> None:
    records = vision(model_of("vllm", "runtime.batch_size=2"), PatchesGrid(3, 3, 1))
    masks = Counter(each.path for each in records if each.aten == "aten.full.default")
    assert masks == {"global.qwen2_model.model": 2, "local.qwen2_model.model": 2 * 3}
    puts = Counter(each.path for each in records if each.aten == "aten.index_put_.default")
    assert puts == {"global.qwen2_model.model": 2 * (1 + 2 * 256), "local.qwen2_model.model": 2 * 3 * (1 + 2 * 144)}


def test_a_layer_copies_keys_and_values_and_is_given_numbers() -> None:
    """Otherwise it is transformers' own."""

    def layer(execution: str) -> list[str]:
        path = "global.qwen2_model.model.layers.1"
        return [each.aten for each in vision(model_of(execution), UNCUT) if each.path.startswith(path)]

    theirs, ours = layer("transformers"), layer("vllm")
    numbers = ["aten.full.default", "aten.zeros.default", "aten.where.self"]
    attention = "aten._scaled_dot_product_efficient_attention.default"
    at = theirs.index(attention)
    assert theirs[at - 3 : at] == numbers
    repeated = ["aten.clone.default"] * 2
    assert theirs[at - 5 : at - 3] == repeated
    assert ours == [*theirs[: at - 5], *["aten.cat.default"] * 2, *repeated, *theirs[at:]]


def test_pages_one_after_another() -> None:
    """The pixels of all global views are summed, each page's copied; its tiles' are summed; its rows are joined."""
    pages, tiles, width = 2, 3, 64
    whole, tile, rows = 3 * 1024**2, 3 * 768**2, 256 + 144 * tiles + 1
    page = [
        ("aten.clone.default", whole, whole),
        ("aten.sum.default", tiles * tile, 1),
        ("aten.cat.default", rows * width, rows * width),
    ]
    expected = [("aten.sum.default", pages * whole, 1), *page * pages]
    records = vision(model_of("vllm", f"runtime.batch_size={pages}"), PatchesGrid(tiles, tiles, 1))
    outside = [each for each in records if not each.path]
    assert [(each.aten, each.bytes_read, each.bytes_written) for each in outside] == [
        (aten, E * read, E * written) for aten, read, written in expected
    ]


def test_the_same_products_as_transformers() -> None:
    theirs, ours = (load_cost_model([f"execution={name}"]).page(1275, 1650, 3) for name in ("transformers", "vllm"))
    for stage in ("vision", "prefill", "decode"):
        other, engine = getattr(theirs, stage), getattr(ours, stage)
        assert engine.tensor_core_flops == other.tensor_core_flops
        assert (engine.weight_bytes, engine.kv_bytes) == (other.weight_bytes, other.kv_bytes)
