"""Speculative decoding: steps against the real decoder, sums against a loop, what is refused."""

from fractions import Fraction
from functools import partial
from math import ceil, floor
from typing import Any

import pytest
import torch

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.devices import PageKind, compute_throughput, load_device
from modelmeter.devices.stage_time import StageTimes
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from modelmeter.models.common.stage_cost import SUMS
from modelmeter.reference.comparison import stage_row
from tests.models.glm_ocr.small import OVERRIDES as GLM
from tests.models.lighton_ocr.small import OVERRIDES as LIGHTON

QWEN = ("vision.depth=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000", "workload=page")
DEEPSEEK = ("decoder.num_hidden_layers=2", "decoder.vocab_size=1000", "workload=tiny", "workload.image_size=320")
#: small models of all kinds of positions and caches that keep everything, one with experts
SMALL: dict[str, tuple[str, ...]] = {
    "glm_ocr": GLM,
    "qwen2_vl": QWEN,
    "lighton_ocr": (*LIGHTON,),
    "deepseek_ocr": DEEPSEEK,
}


def drafted(k: int, accepted: float, draft: str = "ngram") -> tuple[str, ...]:
    return f"runtime.draft={draft}", f"runtime.draft_tokens={k}", f"runtime.accepted_tokens={accepted}"


def several(whole: Any, cache: Any, pages: int, rows: int) -> Any:
    """The real modules' pass over so many tokens of each page behind a cache."""
    token_ids = torch.empty(pages, rows, dtype=torch.long, device="meta")
    hit = int(whole.cost_model.experts_hit(pages * rows))
    if hasattr(whole.page, "_pass"):  # positions of several coordinates are given
        return whole.page._pass(token_ids, cache, None, "all")

    def call() -> Any:
        return whole.page._forward("all", input_ids=token_ids, past_key_values=cache)

    return whole.page._measure(call, cache, hit)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [(), ("runtime.attention=eager",), ("runtime.dtype=float32",)], ids=str)
@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize("model", SMALL)
def test_a_step_of_several_positions_is_the_real_decoders(model: str, pages: int, runtime: tuple[str, ...]) -> None:
    for rows, prompt in ((2, 31), (4, 37), (6, 32)):  # contexts that a mask's rows are aligned to, and others
        keys = (*SMALL[model], *runtime, f"runtime.batch_size={pages}", f"runtime.prompt_tokens={prompt}")
        plain: Any = load_cost_model(keys, model=model)
        whole: Any = model_package(model).whole_model(plain)
        layout = plain.workload.layout(90, 60)
        context = plain.seq_len(layout)
        hit = int(plain.experts_hit(pages * context))
        _, cache = whole.prefill(whole.inputs(layout), experts_hit=hit, head="last")
        measured = several(whole, cache, pages, rows)
        ours: Any = load_cost_model((*keys, *drafted(rows - 1, 1.5)), model=model)
        walk = ours.stage_walk("decode", context=context)
        place = partial(whole.place, layout=layout)
        row = stage_row("step", ours.step(context), [walk], [measured], place)
        wrong = [each for each in row.figures() if not each.agrees(0)]
        assert row.agrees(0), (rows, wrong, row.peak_operator, row.peak_path)


#: proposals a step, accepted tokens, tokens after a prompt of 30
COUNTS = [(1, 1.0, 7), (3, 2.5, 100), (3, 4, 41), (5, 5.2, 103), (2, 1.69, 30), (1, 2, 1)]


@pytest.mark.parametrize(("k", "accepted", "tokens"), COUNTS, ids=str)
@pytest.mark.parametrize("overrides", [(), ("execution=vllm",), ("runtime.attention=eager",)], ids=str)
def test_all_steps_are_the_sum_of_each(k: int, accepted: float, tokens: int, overrides: tuple[str, ...]) -> None:
    model: Any = load_cost_model((*GLM, *overrides, *drafted(k, accepted)), model="glm_ocr")
    exact = Fraction(str(accepted))
    contexts = [30 + floor(number * exact) for number in range(ceil(tokens / exact))]
    steps = [model.step(context) for context in contexts]
    decode = model.text(30, tokens).decode
    for figure in SUMS:
        if figure != "kv_added_bytes":
            assert getattr(decode, figure) == sum(getattr(each, figure) for each in steps), figure
    a_position = 2 * 2 * 2 * 8 * 128  # keys and values of two layers, 8 heads of 128 in bfloat16
    assert decode.kv_added_bytes == tokens * a_position
    assert decode.kv_bytes == (30 + tokens) * a_position
    assert decode.resident_peak_bytes == max(each.resident_peak_bytes for each in steps)
    assert sum(run.count for run in model.decode_runs(tokens)) == model.steps_of(tokens) == len(steps)
    assert model.before_last(tokens) == contexts[-1] - 30


def test_a_step_costs_what_its_positions_cost() -> None:
    plain, several = (
        load_cost_model(keys, model="glm_ocr").step(1000).tensor_core_flops for keys in ((), drafted(3, 1))
    )
    products = 16 * (2 * 1536 * 2048 * 2 + 4 * 1536 * 1024 + 6 * 1536 * 4608)
    head = 2 * 1536 * 59392
    assert plain == products + head + 16 * 4 * 2048 * 1001
    assert several == 4 * (products + head) + 16 * 4 * 4 * 2048 * 1004


def test_the_further_layer_of_glm_ocr() -> None:
    keys = ("execution=serving", *drafted(3, 2.5, "mtp"))
    model, without = load_cost_model(keys, model="glm_ocr"), load_cost_model(["execution=serving"], model="glm_ocr")
    # the checkpoint counts copies of the embedding and the head too: 217,852,416
    assert model.parameters - without.parameters == 217_852_416 - 2 * 59_392 * 1536 == 35_400_192
    ngram = load_cost_model(("execution=serving", *drafted(3, 2.5)), model="glm_ocr")
    layer = 2 * (2 * 1536 * 2048 + 2 * 1536 * 1024 + 3 * 1536 * 4608 + 2 * 1536 * 1536)  # of a position
    proposal = 2 * 1536 * 59_392
    # over the step's four positions, then over two proposals, and the head for each of three
    of_step = model.step(1000).tensor_core_flops - ngram.step(1000).tensor_core_flops
    assert of_step == 6 * layer + 3 * proposal + 4 * 2048 * (4 * 1004 + 1005 + 1006)
    of_prompt = model.text(500).prefill.tensor_core_flops - ngram.text(500).prefill.tensor_core_flops
    assert of_prompt == 502 * layer + 3 * proposal + 4 * 2048 * (500 * 500 + 501 + 502)
    assert model.text(500).prefill.kv_bytes == (16 * 500 + 502) * 2 * 2 * 8 * 128


def test_the_laws_are_the_walks() -> None:
    model: Any = load_cost_model((*GLM, "execution=vllm", *drafted(2, 1.5, "mtp")), model="glm_ocr")
    model.page(600, 400, 20)
    for context in (2, 77, 500):
        walk, step = model.stage_walk("decode", context=context), model.step(context)
        assert step.tensor_core_flops == walk.tensor_core_flops
        assert step.activation_peak_bytes == walk.peak_bytes
        assert step.io_bytes == sum(each.bytes_read + each.bytes_written for each in walk.records())


#: model, keys, what refuses them
REFUSED = {
    "no proposals": ("glm_ocr", ("runtime.draft=ngram", "runtime.accepted_tokens=2"), "without draft_tokens"),
    "nothing accepted": ("glm_ocr", ("runtime.draft=ngram", "runtime.draft_tokens=2"), "without accepted_tokens"),
    "more than there are": ("glm_ocr", drafted(3, 4.5), "a step yields 1 to 4 tokens"),
    "thousandths": ("glm_ocr", drafted(3, 2.125), "to hundredths"),
    "nobody proposes": ("glm_ocr", ("runtime.draft_tokens=3",), "draft_tokens=3 is of speculative decoding"),
    "no such layer": ("qwen2_vl", ("execution=vllm", *drafted(3, 2, "mtp")), "qwen2_vl has no layer that predicts"),
    "a layer left out": ("glm_ocr", drafted(3, 2, "mtp"), "execution=transformers leaves that layer"),
    "a window": ("unlimited_ocr", drafted(3, 2), "cache is a window"),
    "a word": ("glm_ocr", ("runtime.draft=eagle",), "draft"),
}


@pytest.mark.parametrize(("model", "keys", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(model: str, keys: tuple[str, ...], message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        load_cost_model(keys, model=model)


def test_what_outputs_say(capsys: pytest.CaptureFixture[str]) -> None:
    keys = ("--model", "glm_ocr", "--engine", "vllm", "--output-tokens", "1000", *drafted(3, 2.5, "mtp"))
    assert main(["page", "600x400", *keys, "--explain"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "1,000 tokens in 400 decode steps of 4 positions (accepted tokens declared)" in told
    assert "2.5 tokens accepted on average by runtime.accepted_tokens, which no size tells" in told
    assert main(["throughput", "600x400", *keys, "--device", "H100-SXM", "--batch", "1"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "1,000 tokens/page given" in told and "accepted tokens declared" in told
    assert "decode steps" not in told.partition("assumed")[0]


def test_times_are_those_of_each_step() -> None:
    device = load_device("H100-SXM")
    model: Any = load_cost_model(("execution=vllm", *drafted(3, 2.5, "mtp")), model="glm_ocr")
    times = StageTimes(model, device)
    each = [times.step(800 + floor(number * 2.5), batch=4).value for number in range(8)]
    decoded = times.decode_many([800, 700, 800], [20, 0, 19], batch=4).value
    assert decoded.tolist() == pytest.approx([sum(each), 0, sum(each)])
    plain = StageTimes(load_cost_model(["execution=vllm"], model="glm_ocr"), device)
    # three more positions, and a layer of 17 with the head three times more, cost less than they save here
    assert plain.step(800).value < times.step(800).value < 2.5 * plain.step(800).value


def test_a_host_waits_for_each_step_not_for_each_token() -> None:
    device = load_device("H100-SXM")

    def decode_s(*keys: str) -> float:
        model: Any = load_cost_model(("execution=vllm", *drafted(3, 2.5), *keys), model="glm_ocr")
        kind: Any = PageKind(page=model.page(600, 400), output_tokens=1000)
        return float(compute_throughput(model, device, [kind], batch_size=1).interval("decode_s").value)

    assert decode_s("host.seconds_per_step=0.01") - decode_s() == pytest.approx(400 * 0.01)


def test_a_simulation_refuses_it(capsys: pytest.CaptureFixture[str]) -> None:
    keys = ("--model", "glm_ocr", "--engine", "vllm", "--output-tokens", "100", *drafted(3, 2.5))
    assert main(["simulate", "600x400", *keys, "--device", "H100-SXM", "--rate", "1"]) == 2
    assert "steps that yield several tokens" in " ".join(capsys.readouterr().err.split())
