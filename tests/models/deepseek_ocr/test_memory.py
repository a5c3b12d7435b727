"""Who holds the peak, the KV cache, and what fits a device."""

from collections import Counter

import pytest
import torch

from modelmeter.errors import ModelMeterError
from modelmeter.layers import CacheSpec, InputSpec
from modelmeter.models.common.loading import load_bytes
from modelmeter.models.common.stage_cost import StageCost
from modelmeter.models.common.vram import Vram
from modelmeter.models.deepseek_ocr import CostModel, load_cost_model
from modelmeter.models.deepseek_ocr.reference.modules import DTYPES, VisionReference
from modelmeter.models.deepseek_ocr.reference.page import PageReference
from modelmeter.operators import Parameter
from modelmeter.reference.fused_attention import FusedAttention
from modelmeter.reference.memory import LiveSet
from modelmeter.search import largest
from modelmeter.shape_tensor import Tape

PAGE = (1275, 1650)


@pytest.fixture(scope="module", params=["transformers", "published"])
def cost_model(request: pytest.FixtureRequest) -> CostModel:
    return load_cost_model([f"execution={request.param}"])


def test_holders_are_the_peak(cost_model: CostModel) -> None:
    page = cost_model.page(*PAGE, output_tokens=7)
    for stage, cost in (("vision", page.vision), ("prefill", page.prefill), ("decode", page.decode)):
        holders = cost_model.peak_holders(stage, *PAGE, output_tokens=7)
        assert sum(holder.nbytes for holder in holders) == cost.resident_peak_bytes
        assert [holder.nbytes for holder in holders] == sorted((holder.nbytes for holder in holders), reverse=True)


def test_holders_are_those_of_the_reference() -> None:
    """The same storages, by bytes and by the operator that made them, at the peak of SAM over two views."""
    reference = VisionReference()
    pixels = reference.pixels(2, 640)
    with torch.no_grad(), FusedAttention(), LiveSet(reference.sam) as live:
        reference.sam(pixels)
    measured = Counter((each.size_bytes, each.shape, each.dtype, each.operator) for each in live.alive_at_peak)
    tape = Tape(tracing=True)
    load_cost_model().model.sam_model.call_remembered("", tape.input((2, 3, 640, 640), "bfloat16"))
    assert Counter((each.nbytes, each.shape, each.dtype, each.operator) for each in tape.at_peak) == measured


def test_in_the_published_code_the_logits_exceed_sam_from_three_crops_on() -> None:
    model = load_cost_model(["execution=published"])
    for width, height, operator in (
        (600, 600, "aten.addmm.default"),
        (1000, 500, "aten.addmm.default"),
        (1500, 500, "aten._to_copy.default"),
        (1275, 1650, "aten._to_copy.default"),
    ):
        assert model.page(width, height).prefill.peak_operator == operator, (width, height)
    logits, half = model.peak_holders("prefill", *PAGE)[:2]
    assert (logits.shape, logits.dtype) == ((1, 913, 129280), "float32")
    assert (half.shape, half.dtype) == ((913, 129280), "bfloat16")


def test_wrong_questions_are_refused(cost_model: CostModel) -> None:
    with pytest.raises(ModelMeterError, match='stage prefil is unknown; did you mean "prefill"'):
        cost_model.peak_holders("prefil", *PAGE)
    with pytest.raises(ModelMeterError, match="decode has no step with output_tokens=0"):
        cost_model.peak_holders("decode", *PAGE)
    with pytest.raises(ModelMeterError, match=r"memory_bytes=-1 is no number"):
        cost_model.largest_batch(-1, *PAGE)
    with pytest.raises(ModelMeterError, match=r"the page alone needs .* 7,000,000,000 bytes are given, .* too few"):
        cost_model.longest_output(7_000_000_000, *PAGE)


def test_kv_cache_of_a_layer() -> None:
    """Two tensors of KV heads x positions x head width, by hand."""
    layer = next(iter(load_cost_model().model.decoder.layers.layers))
    tables = (InputSpec((1, 3, 128), "bfloat16"), InputSpec((1, 3, 128), "bfloat16"))
    layer.bind((2, 3, 1280), tables, None, CacheSpec(), 64)
    assert layer.forward_memory_kvcache() == 2 * 2 * 10 * 3 * 128 * 2
    one = (InputSpec((1, 1, 128), "bfloat16"), InputSpec((1, 1, 128), "bfloat16"))
    layer.bind((2, 1, 1280), one, None, CacheSpec((2, 10, 3, 128)), 12)
    assert layer.forward_memory_kvcache() == 2 * 2 * 10 * 4 * 128 * 2
    assert load_cost_model().model.projector.forward_memory_kvcache() == 0


def test_vram_is_weights_and_the_largest_resident_peak(cost_model: CostModel) -> None:
    page = cost_model.page(*PAGE, output_tokens=1000)
    need = cost_model.vram(*PAGE, output_tokens=1000)
    assert need.weight_bytes == cost_model.model.forward_memory_weight()
    assert need.resident_peak_bytes == max(page.prefill.resident_peak_bytes, page.decode.resident_peak_bytes)
    assert need.reserve_bytes == 2**30
    assert need.total_bytes == need.weight_bytes + need.resident_peak_bytes + need.reserve_bytes
    other = load_cost_model(["runtime.reserve_bytes=0", f"execution={cost_model.config.execution.name}"])
    assert other.vram(*PAGE, output_tokens=1000).total_bytes == need.total_bytes - 2**30


def test_more_pages_and_more_tokens_need_more() -> None:
    model = load_cost_model(["workload=tiny"])
    needs = [model.batched(pages).vram(*PAGE, output_tokens=100).total_bytes for pages in (1, 2, 3, 5, 9)]
    assert needs == sorted(needs) and len(set(needs)) == len(needs)
    outputs = [model.vram(*PAGE, output_tokens=tokens).total_bytes for tokens in (0, 1, 10, 1000, 8000)]
    assert outputs == sorted(outputs)


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    model = load_cost_model(["workload=small"])
    memory = 12 * 10**9
    pages = model.largest_batch(memory, *PAGE, output_tokens=500)
    assert pages > 1
    assert model.batched(pages).vram(*PAGE, output_tokens=500).fits(memory)
    assert not model.batched(pages + 1).vram(*PAGE, output_tokens=500).fits(memory)
    assert model.batched(pages).page(*PAGE) == load_cost_model(["workload=small", f"runtime.batch_size={pages}"]).page(
        *PAGE
    )
    assert model.largest_batch(10**9, *PAGE) == 0


def test_the_longest_output_fits_and_one_more_does_not() -> None:
    model = load_cost_model(["workload=tiny", "runtime.reserve_bytes=0"])
    memory = model.vram(*PAGE, output_tokens=3000).total_bytes
    tokens = model.longest_output(memory, *PAGE)
    assert model.vram(*PAGE, output_tokens=tokens).fits(memory)
    assert not model.vram(*PAGE, output_tokens=tokens + 1).fits(memory)
    assert model.longest_output(10**12, *PAGE) == 8192 - 73 - 10  # to the limit of the model


@pytest.mark.parametrize("limit", [None, 100])
@pytest.mark.parametrize("threshold", [0, 1, 2, 3, 7, 8, 64, 99, 100])
def test_search(threshold: int, limit: int | None) -> None:
    assert largest(lambda value: value <= threshold, limit) == threshold


def test_the_reserve_follows_the_kind_of_the_device() -> None:
    model = load_cost_model()
    gpu, cpu = model.vram(*PAGE, 1000), model.vram(*PAGE, 1000, device_kind="cpu")
    assert (gpu.total_bytes, gpu.reserve_bytes, cpu.reserve_bytes) == (8_604_036_096, 2**30, 0)
    assert cpu.total_bytes == gpu.total_bytes - 2**30
    told = load_cost_model(["runtime.reserve_bytes=12345"])
    assert told.vram(*PAGE, device_kind="cpu").reserve_bytes == told.vram(*PAGE).reserve_bytes == 12345
    assert model.largest_batch(gpu.total_bytes - 1, *PAGE, 1000) == 0
    assert model.largest_batch(gpu.total_bytes - 1, *PAGE, 1000, device_kind="cpu") == 2
    with pytest.raises(ModelMeterError, match='device kind gpus is unknown; did you mean "gpu"'):
        model.vram(*PAGE, device_kind="gpus")
    texts = {each.figure: each.text for each in model.assumptions()}
    assert texts["reserve_bytes"] == "1,073,741,824 bytes on a GPU, 0 on a CPU (runtime.reserve_bytes)"


def test_where_the_reserve_alone_decides_it_is_said() -> None:
    need = load_cost_model().vram(*PAGE, 1000)
    assert need.smaller_reserve(8192 * 2**20) == (
        "the reserve alone decides: it fits with runtime.reserve_bytes=1059640320 or less"
    )
    assert load_cost_model(["runtime.reserve_bytes=1059640320"]).vram(*PAGE, 1000).fits(8192 * 2**20)
    assert need.smaller_reserve(need.total_bytes) is None  # it fits
    assert need.smaller_reserve(need.total_bytes - need.reserve_bytes - 1) is None  # no reserve is small enough
    with pytest.raises(ModelMeterError, match="the reserve alone decides"):
        load_cost_model().longest_output(8192 * 2**20 - 2**25, *PAGE)


def test_loading_in_float32_by_hand() -> None:
    """Elements 3, 10, 2 in float32 are 60 bytes; the second's copy is made beside 40 + 6 + 8 bytes and is 20."""
    parameters = [Parameter(3, dtype="bfloat16"), Parameter(2, 5, dtype="bfloat16"), Parameter(2, dtype="bfloat16")]
    assert load_bytes("float32_on_device", parameters) == 6 + 40 + 20 + 8 - 30
    assert load_bytes("float32_on_device", parameters[::-1]) == 4 + 40 + 20 + 12 - 30
    assert load_bytes("direct", parameters) == 0
    assert load_bytes("float32_on_device", [Parameter(3, dtype="float32")]) == 0
    with pytest.raises(
        ModelMeterError, match="runtime: load=float32 is unknown; the options are direct, float32_on_device"
    ):
        load_bytes("float32", parameters)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_loading_in_float32_is_what_the_real_modules_hold(dtype: str) -> None:
    """The whole model in float32 on the meta device, converted as `.to(dtype)` does, tensor by tensor: difference 0."""
    sizes = {"num_hidden_layers": 2, "n_routed_experts": 8, "vocab_size": 5000}
    real = PageReference("float32", **sizes).model
    parameters = [parameter.data for parameter in real.parameters()]
    with torch.no_grad(), LiveSet(given=parameters) as live:
        del parameters
        real.to(DTYPES[dtype])
    overrides = [f"decoder.{name}={size}" for name, size in sizes.items()]
    model = load_cost_model([*overrides, f"runtime.dtype={dtype}", "runtime.load=float32_on_device"])
    assert live.peak_bytes == model.model.forward_memory_weight() + model.load_bytes


@pytest.mark.parametrize("execution", ["transformers", "published", "vllm", "sglang", "serving"])
def test_loading_converts_every_parameter_once(execution: str) -> None:
    model = load_cost_model([f"execution={execution}"]).model
    converted = Counter(parameter.shape for parameter in model.parameters_as_converted())
    assert converted == Counter(parameter.shape for _, parameter in model.named_parameters())


def test_loading_the_published_model_in_float32_exceeds_a_card_of_12_gb() -> None:
    direct = load_cost_model(["execution=published"])
    load = load_cost_model(["execution=published", "runtime.load=float32_on_device"])
    weights, need = direct.model.forward_memory_weight(), load.vram(*PAGE, 1000)
    embedding = 129280 * 1280 * 2  # converted first, while everything else is float32 still
    assert (direct.load_bytes, load.load_bytes) == (0, weights + embedding)
    assert need.stage == "load"
    assert need.total_bytes - need.reserve_bytes == 2 * weights + embedding == 13_675_381_760
    assert not need.fits(12288 * 2**20) and direct.vram(*PAGE, 1000).fits(12288 * 2**20)
    assert f"peak of load {weights + embedding:,}, reserve" in need.describe()
    assert load.page(*PAGE, 1000) == direct.page(*PAGE, 1000)  # no stage of a page changes
    assert "float32_on_device" in {each.label for each in load.assumptions()}
    with pytest.raises(ModelMeterError, match=r"runtime\.load=onto_host is unknown"):
        load_cost_model(["runtime.load=onto_host"])


def test_the_stage_that_decides_is_the_largest() -> None:
    stages = {"prefill": StageCost(weight_bytes=9, resident_peak_bytes=5), "decode": StageCost(resident_peak_bytes=6)}
    for held, stage, total in ((0, "decode", 15), (6, "decode", 15), (7, "load", 16)):
        need = Vram.of_stages(stages, reserve_bytes=0, load_bytes=held)
        assert (need.stage, need.total_bytes) == (stage, total)


ENGINE_CROPS = {(1920, 1080): (1093, 483), (1080, 2340): (1113, 493), (2000, 2000): (1203, 693)}


@pytest.mark.parametrize("size", ENGINE_CROPS, ids=lambda size: "x".join(map(str, size)))
def test_pages_cut_as_engines_cut_them(size: tuple[int, int]) -> None:
    """vLLM and SGLang cut at most 6 crops; nine are counted with unless the limit is given, and it is said."""
    nine, six = (load_cost_model(["execution=serving", f"workload.max_num={limit}"]) for limit in (9, 6))
    assert (nine.page(*size).tokens.total, six.page(*size).tokens.total) == ENGINE_CROPS[size]


def test_serving_says_how_many_crops_it_counts_with() -> None:
    def layouts(*overrides: str) -> list[tuple[str, str]]:
        return [(each.label, each.text) for each in load_cost_model(overrides).assumptions() if each.figure == "layout"]

    ((label, text),) = layouts("execution=serving")
    assert label == "up to 9 crops; engines 6"
    assert "vLLM and SGLang cut at most 6" in text and text.endswith("workload.max_num=6 counts as they do")
    assert layouts("execution=serving", "workload.max_num=6") == []
    assert layouts("execution=serving", "workload=base") == []  # no crops at all
    assert layouts("execution=transformers") == []


def test_vram_of_stages_is_said_in_words() -> None:
    need = Vram(weight_bytes=3 * 2**30, resident_peak_bytes=2**30, reserve_bytes=2**29, stage="prefill")
    assert need.describe() == (
        "4,831,838,208 bytes, 4.832 GB (4.50 GiB): weights 3,221,225,472, peak of prefill 1,073,741,824, "
        "reserve 536,870,912 (assumed)"
    )
