"""LightOnOCR as vLLM and SGLang launch it: its vision, a prompt and a step, kernel by kernel, by hand."""

from dataclasses import replace

import pytest

from modelmeter.models.lighton_ocr import PatchGrid, load_cost_model
from tests.models.engine_hand import (
    F4,
    INDEX,
    E,
    Kernel,
    Text,
    copied,
    kernels,
    norm,
    norm_written_out,
    product,
    summed,
    under,
)
from tests.models.lighton_ocr.small import OVERRIDES, TEXT, VISION

ENGINES = ("vllm", "sglang")
#: of the small model: width, inner width, heads, their width; patches of a page, in whole squares; pages, prompt
D, F, H, W = VISION["hidden_size"], VISION["intermediate_size"], VISION["num_attention_heads"], 16
ROWS, COLUMNS, PAGES, PROMPT = 8, 6, 2, 11
PAGE_PATCHES, PAGE_TOKENS = ROWS * COLUMNS, ROWS // 2 * COLUMNS // 2
PIXELS = 3 * 14 * 14
OUT = TEXT["hidden_size"]


def norm_of(engine: str, path: str, rows: int) -> list[Kernel]:
    return norm_written_out(path, rows, D) if engine == "vllm" else [norm(path, rows, D)]


def turned_written_out(patches: int, tables: int) -> list[Kernel]:
    """x * cos + rotate_half(x) * sin, of queries or of keys."""
    at = "attention"
    return [
        Kernel(at, "aten.mul.Tensor", patches + tables, patches),
        Kernel(at, "aten.neg.default", patches // 2, patches // 2),
        Kernel(at, "aten.cat.default", patches, patches),
        Kernel(at, "aten.mul.Tensor", patches + tables, patches),
        summed(at, patches),
    ]


def block(engine: str, pages: int) -> list[Kernel]:
    n = pages * PAGE_PATCHES
    patches, tables = E * n * D, E * n * W
    if engine == "vllm":
        turn = turned_written_out(patches, tables) * 2
    else:
        turn = [
            *[copied("attention", patches)] * 3,
            Kernel("attention", "fused.rotary", 2 * patches + 2 * tables, 2 * patches),
        ]
    scores = 2 * 2 * pages * PAGE_PATCHES**2 * D
    return [
        *norm_of(engine, "attention_norm", n),
        product("attention.qkv_proj", n, D, 3 * D, bias=False),
        *turn,
        Kernel("attention", "fused.attention", 3 * patches + F4 * (pages + 1), patches + F4 * H * n, scores),
        product("attention.o_proj", n, D, D, bias=False),
        summed("", patches),
        *norm_of(engine, "ffn_norm", n),
        product("feed_forward.gate_up_proj", n, D, 2 * F, bias=False),
        Kernel("feed_forward", "fused.silu_and_mul", 2 * E * n * F, E * n * F),
        product("feed_forward.down_proj", n, F, D, bias=False),
        summed("", patches),
    ]


def encoder(engine: str, pages: int) -> list[Kernel]:
    n = pages * PAGE_PATCHES
    patches, angles = E * n * D, F4 * n * W
    one = E * PAGE_PATCHES
    if engine == "vllm":  # page by page, a product of patches in rows
        embedded = [
            copied("", one * PIXELS),
            product("patch_conv", PAGE_PATCHES, PIXELS, D, bias=False),
        ] * pages
    else:
        flops = 2 * n * PIXELS * D
        embedded = [Kernel("patch_conv", "aten.convolution.default", E * (n + D) * PIXELS, patches, flops)]
    mask = E * n * n  # of numbers, which nobody reads: least ones, then 0 within the page
    unread = [
        Kernel("", "aten.full.default", 0, mask),
        Kernel("", "aten.scalar_tensor.default", 0, E),
        Kernel("", "aten.copy_.default", E, mask),
    ]
    return [
        *embedded,
        Kernel("", "aten.cat.default", patches, patches),
        *norm_of(engine, "ln_pre", n),
        Kernel("", "aten.index.Tensor", angles + INDEX * n, angles),
        Kernel("", "aten.cos.default", angles, angles),
        Kernel("", "aten.sin.default", angles, angles),
        *[Kernel("", "aten._to_copy.default", angles, angles // 2)] * 2,
        *(unread if engine == "sglang" else []),
        *under("transformer.layers.0", block(engine, pages)),
        *under("transformer.layers.1", block(engine, pages)),
    ]


def projection(engine: str, pages: int) -> list[Kernel]:
    n, tokens = pages * PAGE_PATCHES, pages * PAGE_TOKENS
    one = E * PAGE_PATCHES * D
    return [
        *norm_of(engine, "norm", n),
        *[Kernel("patch_merger", "aten.im2col.default", one, one)] * pages,
        Kernel("patch_merger", "aten.cat.default", E * n * D, E * n * D),
        product("patch_merger.merging_layer", tokens, 4 * D, D, bias=False),
        product("linear_1", tokens, D, OUT, bias=False),
        Kernel("", "aten.gelu.default", E * tokens * OUT, E * tokens * OUT),
        product("linear_2", tokens, OUT, OUT, bias=False),
    ]


def vision(engine: str) -> list[Kernel]:
    if engine == "sglang":
        page = [*under("vision_encoder", encoder(engine, 1)), *under("vision_projection", projection(engine, 1))]
        return page * PAGES
    features = E * PAGES * PAGE_PATCHES * D
    return [
        *under("vision_encoder", encoder(engine, PAGES)),
        Kernel("", "aten.cat.default", features, features),  # split by page, and joined
        *under("vision_projection", projection(engine, PAGES)),
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_kernel_by_kernel(engine: str) -> None:
    overrides = (f"execution={engine}", f"runtime.batch_size={PAGES}", f"runtime.prompt_tokens={PROMPT}")
    model = load_cost_model([*OVERRIDES, "decoder.num_hidden_layers=1", *overrides])
    page = model.layout_cost(PatchGrid(COLUMNS, ROWS))
    assert kernels(model.stage_walk("vision", page=page).records()) == vision(engine)
    prompt = Text(
        engine=engine,
        pages=PAGES,
        tokens=PAGE_TOKENS + PROMPT,
        hidden=OUT,
        inner=TEXT["intermediate_size"],
        heads=TEXT["num_attention_heads"],
        kv_heads=TEXT["num_key_value_heads"],
        head_dim=TEXT["head_dim"],
        vocabulary=TEXT["vocab_size"],
        qk_norm=True,
    )
    prefill = kernels(model.stage_walk("prefill", page=page).records())
    assert prefill == [*vision(engine), *prompt.all(PAGES * PAGE_TOKENS)]
    step = replace(prompt, tokens=1, past=7)
    assert kernels(model.stage_walk("decode", context=7).records()) == step.all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pages", [1, 2])
def test_the_same_products_and_no_less_than_the_bound(engine: str, pages: int) -> None:
    ours, bound, library = (
        load_cost_model([f"execution={name}", f"runtime.batch_size={pages}"])
        for name in (engine, "serving", "transformers")
    )
    costs = [each.layout_cost(PatchGrid(44, 16), 5) for each in (ours, bound, library)]
    for stage in ("vision", "prefill", "decode"):
        one, least, other = (getattr(page, stage) for page in costs)
        for figure in ("tensor_core_flops", "weight_bytes", "kv_bytes", "kv_added_bytes"):
            assert getattr(one, figure) == getattr(least, figure), (stage, figure)
        assert one.weight_bytes == other.weight_bytes
        if pages == 1:  # pages of a batch see each other's places in transformers' mask alone
            assert one.tensor_core_flops == other.tensor_core_flops
        assert least.io_bytes < one.io_bytes < other.io_bytes, stage


def test_the_mask_that_nobody_reads_is_held() -> None:
    """SGLang makes it for a page, 44 x 16 patches by as many, and holds it to the end of the tower."""
    peaks = {}
    for engine in ENGINES:
        model = load_cost_model([f"execution={engine}"])
        page = model.layout_cost(PatchGrid(44, 16))
        records = list(model.stage_walk("vision", page=page).records())
        peaks[engine] = [each.live_bytes for each in records if each.path.endswith("layers.5.feed_forward")]
    assert len(peaks["vllm"]) == len(peaks["sglang"]) == 1
    assert peaks["sglang"][0] - peaks["vllm"][0] == E * (44 * 16) ** 2


def test_pages_that_vllm_fills_up_otherwise_say_so() -> None:
    labels = {
        (engine, squares): {each.label for each in load_cost_model([f"execution={engine}", *squares]).assumptions()}
        for engine in ENGINES
        for squares in ((), ("workload=squares",))
    }
    said = "whole patches; vLLM whole squares"
    assert {key for key, each in labels.items() if said in each} == {("vllm", ())}
    assert all("an engine's kernels, as read" in each for each in labels.values())
