"""What limits an engine: pools that were printed, advice that holds and one step beyond that does not, refusals."""

from dataclasses import replace
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.devices import PageKind, compute_throughput, load_device
from modelmeter.devices.engine import Limits, Pool
from modelmeter.devices.engine_limits import EngineLimits, engine_limits
from modelmeter.errors import ModelMeterError
from modelmeter.memory import GIB

LETTER = (1275, 1650)
#: tokens of the cache of a letter and 1,000 decode steps: 903 of its image, 10 of the prompt
TOKENS = 1913


def answered(*overrides: str, device: str = "L4", model: str = "deepseek_ocr", **change: Any) -> EngineLimits:
    loaded = load_cost_model([*overrides] if overrides else ["engine=vllm"], model=model)
    page = loaded.page(*change.pop("sides", LETTER))
    return engine_limits(loaded, replace(load_device(device), **change), [PageKind(page=page, output_tokens=1000)])


def vllm(*overrides: str, **change: Any) -> EngineLimits:
    return answered("engine=vllm", *overrides, **change)


def test_the_pool_that_vllm_ascend_printed() -> None:
    """PR 3874: 51,114,070,016 bytes in blocks of 128 are 831,872 tokens, and 101.55 requests of 8,192."""
    limits = Limits(
        utilization=1.0,
        reserve_bytes=0,
        block_size=128,
        max_num_seqs=256,
        seqs_given=False,
        max_num_batched_tokens=2048,
        max_model_len=8192,
    )
    pool = Pool.of(limits, 51_114_070_016, 0, 12 * 2 * 1280 * 2)
    assert pool.tokens == 831_872
    now = replace(vllm().now, pool=pool)
    assert f"{now.at_max_model_len:.2f}" == "101.55"


def test_how_a_pool_comes_about() -> None:
    answer = vllm()
    now = answer.now
    assert now.share_bytes == int(0.9 * answer.device.memory_bytes)
    left = now.share_bytes - now.weight_bytes - now.reserve_bytes
    assert now.run is not None and now.reserve_bytes == now.run.peak_bytes + 590_000_000
    assert (now.blocks, now.pool.tokens) == (left // (16 * 61_440), left // (16 * 61_440) * 16)
    assert now.in_pool == now.blocks // -(-TOKENS // 16)
    assert now.at_once == now.in_pool < now.settings.max_num_seqs and now.binds == "pool"


def test_a_prefix_in_the_pool_is_held_once() -> None:
    """Nine of ten requests find 2,000 positions, 125 blocks: as many at once as `modelmeter throughput` has."""
    prefix = ("engine=vllm", "runtime.system_prompt_tokens=2000", "runtime.prefix_cached=0.9")
    now = answered(*prefix).now
    own = -(-(TOKENS + 2000) // 16)

    def blocks(requests: int) -> int:
        return requests * own - (requests * 9 // 10 - 1) * 125

    assert blocks(now.in_pool) <= now.blocks < blocks(now.in_pool + 1)
    model = load_cost_model(list(prefix))
    kinds = [PageKind(page=model.page(*LETTER), output_tokens=1000)]
    assert compute_throughput(model, load_device("L4"), kinds).batch_size == now.in_pool
    assert now.mean_in_pool > now.in_pool


def test_images_of_regions_are_of_one_region() -> None:
    """Those of a step are encoded without the page's other regions, one of which is twice as large."""
    small = (600, 200)
    alone = load_cost_model(["engine=vllm"], model="mineru2_5")
    images = answered("engine=vllm", "workload.regions=[[600,200],[600,400]]", model="mineru2_5").now.images
    region = alone.workload.of_region.layout(*small)
    assert (images.layout, images.tokens, images.count) == (region, 21 * 7, 2048 // (21 * 7))
    vision = alone.batched(images.count).layout_cost(region).vision
    cached = (2048 - images.count * images.tokens) * 2 * alone.config.decoder.hidden_size
    assert images.bytes == vision.resident_peak_bytes + cached


def test_drafts_take_positions_of_a_step() -> None:
    """A step has the longest prompt and, of every other request, a token and three drafts."""
    drafts = ("runtime.draft=ngram", "runtime.draft_tokens=3", "runtime.accepted_tokens=2")
    answer = answered("engine=vllm", *drafts, model="glm_ocr")
    settings = answer.advised.settings
    assert settings.max_num_batched_tokens == -(-(answer.prompt + 4 * (settings.max_num_seqs - 1)) // 256) * 256


ADVISED = {
    "vllm": ("engine=vllm",),
    "few": ("engine=vllm", "engine.max_num_seqs=8"),
    "sglang": ("engine=sglang",),
    "packed": ("engine=vllm", "precision=awq"),
}


@pytest.mark.parametrize("device", ["L4", "RTX-3060-12GB", "H100-SXM"])
@pytest.mark.parametrize("overrides", ADVISED.values(), ids=ADVISED)
def test_what_is_advised_holds_and_one_step_beyond_does_not(overrides: tuple[str, ...], device: str) -> None:
    answer = answered(*overrides, device=device)
    advised, settings = answer.advised, answer.advised.settings
    assert advised.in_pool >= advised.at_once == settings.max_num_seqs

    def set_to(**changed: Any) -> tuple[Any, list[PageKind[Any]]]:
        chosen = [each for each in overrides if not each.startswith("engine.")]
        keys = [f"engine.{name}={value}" for name, value in {**settings._asdict(), **changed}.items()]
        model = load_cost_model([*chosen, *keys])
        return model, [PageKind(page=model.page(*LETTER), output_tokens=1000)]

    def at(**changed: Any) -> Any:
        model, kinds = set_to(**changed)
        return engine_limits(model, answer.device, kinds).now

    model, kinds = set_to()
    assert compute_throughput(model, answer.device, kinds).batch_size == settings.max_num_seqs  # none is preempted
    assert at() == replace(advised, images=replace(advised.images, label=""))
    assert at(max_num_seqs=settings.max_num_seqs + 1).in_pool <= settings.max_num_seqs
    assert advised.room_bytes >= answer.context_bytes == GIB
    more = at(gpu_memory_utilization=round(settings.gpu_memory_utilization + 0.01, 2))
    assert more.room_bytes < answer.context_bytes
    beside = settings.max_num_seqs - 1 if overrides[0] == "engine=vllm" else 0
    assert settings.max_num_batched_tokens >= answer.prompt + beside > settings.max_num_batched_tokens - 256
    assert settings.max_model_len >= answer.longest == TOKENS > settings.max_model_len - 16
    with pytest.raises(ModelMeterError, match=r"engine\.max_model_len allows 1904 positions; up to 991 fit"):
        at(max_model_len=1904)


def test_pages_hold_more_than_the_images_that_were_profiled() -> None:
    """A letter has six crops, the image of the profile run four; with few requests no sampler covers the difference."""
    now = vllm("engine.max_num_seqs=28", device="RTX-3060-12GB").now
    model = load_cost_model(["engine=vllm"]).batched(2)
    letters, profiled = (model.page(*sides).vision.resident_peak_bytes for sides in (LETTER, (1280, 1280)))
    assert now.images.bytes == letters + (2048 - 2 * 903) * 2560
    assert now.beyond_bytes == now.images.bytes - profiled == 77_105_152
    assert vllm(device="RTX-3060-12GB").now.beyond_bytes == 0  # 256 requests are sampled from


def test_the_largest_of_several_pages_decides() -> None:
    model = load_cost_model(["engine=vllm"])
    kinds = [
        PageKind(page=model.page(*sides), output_tokens=tokens, label=name)
        for name, sides, tokens in (("small", (600, 600), 2000), ("letter", LETTER, 100), ("square", (1280, 1280), 10))
    ]
    answer = engine_limits(model, load_device("L4"), kinds)
    assert answer.longest == 283 + 2000 and answer.prompt == 913
    assert answer.now.images.label == "letter"
    assert answer.advised.settings.max_model_len == 2288
    # tokens before a step, on average over all steps, rounded up, then whole blocks after it
    steps = (
        [283 + step for step in range(2000)] + [913 + step for step in range(100)] + [703 + step for step in range(10)]
    )
    assert answer.now.mean_tokens == -(-(-(-sum(steps) // len(steps)) + 1) // 16) * 16
    assert answer.now.mean_in_pool == answer.now.pool.tokens // answer.now.mean_tokens > answer.now.in_pool


def test_a_kernel_that_sorts_nothing_leaves_more_to_the_pool() -> None:
    assert vllm("engine.sampler=kernel", device="H100-SXM").now.pool.tokens > vllm(device="H100-SXM").now.pool.tokens


def test_a_reserve_that_is_given_stands() -> None:
    answer = vllm("engine.reserve_bytes=2000000000")
    assert answer.now.reserve_bytes == 2_000_000_000 and answer.reserve_given
    assert answer.now.reserved_for_passes == 1_410_000_000


def test_sglang_holds_passes_in_what_it_leaves_alone() -> None:
    now = answered("engine=sglang").now
    assert now.run is None and now.budget is None and now.reserve_bytes == 0
    assert now.images.count == 2048 // 913
    assert now.room_bytes == now.left_alone_bytes - now.images.bytes


REFUSED = {
    "no_pool": (("engine=transformers",), {}, "engine=transformers allocates no pool.*engine=vllm or engine=sglang"),
    "bound": (("engine=best",), {}, "engine=best allocates no pool"),
    "positions": (("engine=vllm", "engine.max_model_len=9000"), {}, "9000 is more than the 8192 positions of deepseek"),
    "too_long": (
        ("engine=vllm", "engine.max_model_len=1500"),
        {},
        "of 913 positions has no room for 1000 output tokens: engine.max_model_len allows 1500.*up to 587 fit",
    ),
    "encoder": (
        ("engine=vllm", "engine.max_num_batched_tokens=800"),
        {},
        "a page has 903 image tokens, and vllm's encoder budget is 800.*engine.max_num_batched_tokens=903 or more",
    ),
    "sequences": (
        ("engine=vllm", "engine.max_num_batched_tokens=1024", "engine.max_num_seqs=2000"),
        {},
        "max_num_batched_tokens=1024 is less than max_num_seqs=2000",
    ),
    "share": (
        ("engine=vllm", "engine.gpu_memory_utilization=0.3"),
        {},
        r"0.3 of L4 is 7.246 GB.*a pool of 0 tokens.*give engine.gpu_memory_utilization=0\.359 or more",
    ),
    "device": (
        ("engine=vllm",),
        {"memory_bytes": 6 * GIB},
        "smallest bundled device with as much memory is .*precision=awq",
    ),
}


@pytest.mark.parametrize("overrides, change, words", REFUSED.values(), ids=REFUSED)
def test_what_cannot_run_says_what_would(overrides: tuple[str, ...], change: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelMeterError, match=words):
        answered(*overrides, **change)


def test_the_share_that_a_refusal_names_is_enough() -> None:
    assert vllm("engine.gpu_memory_utilization=0.359").now.in_pool == 1
    with pytest.raises(ModelMeterError, match="or more"):
        vllm("engine.gpu_memory_utilization=0.358")
