"""The configuration: what every key may be, what an override may be, and that many threads may ask at once."""

import copy
import json
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.configuration import (
    COMMON_CONFIGS,
    COMMON_KINDS,
    MAX_OVERRIDE_CHARACTERS,
    CheckpointSchema,
)
from modelmeter.models.deepseek_ocr import CostModel, PageCost, load_cost_model, restore_cost_model
from modelmeter.models.deepseek_ocr.config import CONFIGURATION, KINDS, ModelSchema

pytestmark = pytest.mark.slow  # seconds, not for every change

#: what a value may be, by key
ALL_KINDS = {**KINDS, **COMMON_KINDS}


def with_value(key: str, value: Any) -> dict[str, Any]:
    """The published configuration with one value changed."""
    content = asdict(ModelSchema())
    *groups, name = key.split(".")
    node = content
    for group in groups:
        node = node[group]
    assert name in node
    node[name] = value
    return content


VALUES = [
    -1,
    0,
    1,
    7,
    2**31,
    2**63,
    10**30,
    10**6000,
    1.5,
    True,
    None,
    "x",
    "${oc.env:HOME}",
    [],
    [-1],
    [99],
    [2, 2],
    {},
]
#: what a key takes that no other does
TAKES: dict[str, list[Any]] = {
    "vision.sam.global_attn_indexes": [[]],
    "vision.sam.qkv_bias": [True],
    "workload.crop_mode": [True],
    **{f"runtime.{name}": [None] for name in ("prompt", "prompt_tokens", "draft_tokens", "accepted_tokens")},
    "runtime.experts_hit": [None],
    "runtime.tokenizer_path": [None, "x", "${oc.env:HOME}"],
    "runtime.head": [None],
    "runtime.reserve_bytes": [None],
    "engine.version": [None, "x", "${oc.env:HOME}"],
    **{
        f"engine.{limit}": [None]
        for limit in (
            "reserve_bytes",
            "other_bytes",
            "block_size",
            "max_num_seqs",
            "max_num_batched_tokens",
            "max_model_len",
        )
    },
    "engine.sampler": [None],
    "engine.gpu_memory_utilization": [None],
    "host.ngram": [True],
    "precision.kv": [None],
    "parallel.encoder": [None],
    **{
        f"{group}.{name}": [1.5]
        for group, name in (
            ("host", "seconds_per_page"),
            ("host", "seconds_per_text"),
            ("host", "seconds_per_prefill"),
            ("host", "seconds_per_step"),
            ("host", "seconds_per_comparison"),
            ("client", "seconds_per_page"),
        )
    },
    **{key: [None, "x", "${oc.env:HOME}"] for key in ALL_KINDS if key.startswith("checkpoint.")},
}


@pytest.mark.parametrize("key", ALL_KINDS)
def test_every_key_takes_what_makes_sense_and_names_what_does_not(key: str) -> None:
    for value in VALUES:
        try:
            model = CostModel(CONFIGURATION.read(with_value(key, value)))
            page = model.page(600, 800, 3)
        except ModelMeterError as error:
            assert len(str(error)) <= 900
            assert key.removesuffix(".name") in str(error) or key.split(".")[-1] in str(error)
            continue
        whole = isinstance(value, int) and not isinstance(value, bool)
        assert whole or value in TAKES.get(key, []), f"{key}={value} has figures"
        figures = [
            figure
            for stage in (page.vision, page.prefill, page.decode, page.total)
            for figure in stage.as_dict().values()
            if not isinstance(figure, str)
        ]
        assert min(figures) >= 0
        assert model.vram(600, 800, 3).total_bytes > 0


RELATED = {  # keys whose values are allowed alone, what is said of them together
    "block_that_is_not_there": ({"vision.sam.global_attn_indexes": [12]}, "give numbers from 0 to 11, each once"),
    "blocks_taken_away": ({"vision.sam.depth": 8}, r"global_attn_indexes=\[2, 5, 8, 11\] are no blocks of .*depth=8"),
    "block_twice": ({"vision.sam.global_attn_indexes": [2, 2]}, "each once"),
    "sam_heads": ({"vision.sam.num_heads": 7}, "embed_dim=768 does not divide by num_heads=7"),
    "sam_table": ({"vision.sam.pretrain_img_size": 1000}, "pretrain_img_size=1000 is no multiple of .*patch_size=16"),
    "channels": ({"vision.sam.downsample_channels": [512]}, "downsample_channels has 1 entries; give 2 to 2"),
    "sam_width": ({"vision.sam.downsample_channels": [512, 512]}, "clip.hidden_size=1024 takes the 512 channels"),
    "clip_width": ({"vision.clip.hidden_size": 512}, "clip.hidden_size=512 takes the 1024 channels"),
    "clip_heads": ({"vision.clip.num_attention_heads": 7}, "hidden_size=1024 does not divide by num_attention_heads=7"),
    "clip_table": ({"vision.clip.num_positions": 256}, "num_positions=256 is not a square grid and a class token"),
    "projector_in": ({"vision.projector.input_dim": 1024}, "projector.input_dim=1024 is not the width .* give 2048"),
    "projector_out": ({"vision.projector.n_embed": 1024}, "set vision.projector.n_embed and decoder.hidden_size"),
    "projector_type": ({"vision.projector.projector_type": "liner"}, 'did you mean "linear"'),
    "experts": ({"runtime.experts_hit": 65}, "neither max nor uniform nor a number of experts from 6 .* to 64"),
}


@pytest.mark.parametrize("values, text", RELATED.values(), ids=RELATED)
def test_sizes_that_do_not_fit_together_are_refused(values: dict[str, Any], text: str) -> None:
    ((key, value),) = values.items()
    with pytest.raises(ModelMeterError, match=text):
        restore_cost_model(with_value(key, value), prompt_tokens=10)


LARGEST = {  # every bound that a walk could feel, and the executions that walk differently
    "layers": {"decoder.num_hidden_layers": 1000, "decoder.n_routed_experts": 1024},
    "vision": {"vision.sam.depth": 1000, "vision.clip.num_layers": 1000},
    "vocabulary": {"decoder.vocab_size": 2**30},
    "experts": {"runtime.experts_hit": "uniform", "decoder.n_routed_experts": 1024, "decoder.num_experts_per_tok": 1},
    "prompt": {
        "runtime.experts_hit": "uniform",
        "runtime.prompt_tokens": 2**30 - 10**6,
        "decoder.max_position_embeddings": 2**30,
    },
}


@pytest.mark.parametrize("execution", ["transformers", "published"])
@pytest.mark.parametrize("values", LARGEST.values(), ids=LARGEST)
def test_the_largest_that_is_allowed_is_counted(values: dict[str, Any], execution: str) -> None:
    content: dict[str, Any] = {"execution": {"name": execution}}
    for key, value in values.items():
        *groups, name = key.split(".")
        node = content
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    assert restore_cost_model(content, prompt_tokens=10).page(1275, 1650, 3).total.tensor_core_flops > 0


def test_an_expert_that_is_missed_by_less_than_a_byte_is_hit() -> None:
    model = load_cost_model(["runtime.experts_hit=uniform"])
    exactly = [64 * (1 - Fraction(58, 64) ** tokens) for tokens in (900, 902)]
    assert [model.experts_hit(tokens) for tokens in (900, 902)] == [exactly[0], 64]
    layer_bytes = 64 * 3 * 1280 * 896 * 2
    assert round(exactly[1] / 64 * layer_bytes) == layer_bytes


REFUSED = {  # an override, what is said
    "hydra_key": ("hydra.searchpath=[pkg://evilmod]", "is for Hydra itself"),
    "hydra_group": ("hydra/launcher=joblib", "is for Hydra itself"),
    "hydra_whole": ("hydra=default", "is for Hydra itself"),
    "hydra_added": ("+hydra.searchpath=[pkg://evilmod]", "is for Hydra itself"),
    "hydra_forced": ("++hydra.searchpath=[pkg://evilmod]", "is for Hydra itself"),
    "hydra_removed": ("~hydra.searchpath", "is for Hydra itself"),
    "hydra_after_blanks": ("  hydra.run.dir=x", "is for Hydra itself"),
    "hydra_in_quotes": ("'hydra.run.dir'=x", "is for Hydra itself"),
    "hydra_package": ("hydra/launcher@hydra.sweeper=basic", "is for Hydra itself"),
    "added": ("+workload.scale=3", "adds a key"),
    "forced": ("++workload.base_size=640", "adds a key"),
    "removed": ("~workload.base_size", "removes a key"),
    "package": ("workload@vision=base", "names a package"),
    "package_renamed": ("workload@workload:vision=base", "names a package"),
    "folder": ("workload/other=base", "names a package"),
    "default_override": ("override hydra/launcher=joblib", "names a package"),
    "environment": ("decoder.hidden_size=${oc.env:HOME}", "is an interpolation"),
    "environment_in_text": ("runtime.prompt='a ${oc.env:HOME}'", "is an interpolation"),
    "environment_in_a_list": ("vision.sam.global_attn_indexes=[2,${oc.env:HOME}]", "is an interpolation"),
    "environment_in_a_key": ("${oc.env:HOME}=1", "is an interpolation"),
    "several": ("decoder.num_hidden_layers=1,2", "stands for several values"),
    "several_groups": ("workload=tiny,base", "there is no such workload"),
    "choice": ("decoder.num_hidden_layers=choice(1,2)", "stands for several values"),
    "range": ("decoder.num_hidden_layers=range(1,1000000000)", "stands for several values"),
    "interval": ("decoder.num_hidden_layers=interval(1,2)", "stands for several values"),
    "tagged": ("decoder.num_hidden_layers=tag(a,choice(1,2))", "stands for several values"),
    "glob": ("workload=glob(*)", "there is no such workload"),
    "groups": ("workload=[tiny,base]", "there is no such workload"),
    "unknown_function": ("decoder.num_hidden_layers=eval(1)", "none that Hydra can read"),
    "unclosed": ("decoder.num_hidden_layers=[1", "none that Hydra can read"),
    "digits": (f"decoder.num_hidden_layers={'9' * 5000}", "none that Hydra can read"),
    "deep": (f"decoder.num_hidden_layers={'[' * 5000}", "more than 8 lists stand within each other"),
    "deep_mappings": (f"vision={'{a:' * 100}1{'}' * 100}", "more than 8 lists stand within each other"),
    "entries": (f"vision.sam.global_attn_indexes=[{'1,' * 5000}1]", "have 5,000 entries together"),
    "long": (f"decoder.num_hidden_layers={'1' * 100_000}", "have 100,026 characters together; at most 20,000"),
    "long_key": (f"{'x' * 19_000}=1", "does not exist"),
    "layers": ("decoder.num_hidden_layers=100000000", "too large; give 1,000 or less"),
    "mapping": ("decoder.hidden_size={a:1}", "is no whole number"),
    "missing": ("decoder.hidden_size=???", r"decoder.hidden_size='\?\?\?' is no whole number"),
    "null": ("decoder=null", "there is no such decoder"),
    "number_as_text": ("decoder.hidden_size='\"1280\"'", "is no whole number"),
}


@pytest.mark.parametrize("override, text", REFUSED.values(), ids=REFUSED)
def test_an_override_is_one_value_of_one_key(override: str, text: str) -> None:
    with pytest.raises(ModelMeterError, match=text) as refused:
        load_cost_model([override])
    assert len(str(refused.value)) <= 900


def test_overrides_are_bounded_together() -> None:
    many = ["decoder.hidden_size=1280"] * (MAX_OVERRIDE_CHARACTERS // 20)
    with pytest.raises(ModelMeterError, match="characters together"):
        load_cost_model(many)


@pytest.mark.parametrize(
    "override", ["runtime.prompt_tokens= 7", " runtime.prompt_tokens=7", "runtime.prompt_tokens=int('7')"]
)
def test_blanks_and_casts_are_hydras_own(override: str) -> None:
    assert load_cost_model([override]).prompt_tokens == 7


def test_no_module_is_imported_for_an_override(tmp_path: Path) -> None:
    (tmp_path / "evilmod").mkdir()
    (tmp_path / "evilmod/__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    code = (
        "from modelmeter.models.deepseek_ocr import load_cost_model\n"
        "try: load_cost_model(['hydra.searchpath=[pkg://evilmod]'])\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "is for Hydra itself" in done.stdout
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "override",
    [
        "hydra.sweep.dir=${oc.env:HOME}/x",
        "hydra/launcher=joblib",
        "+hydra.job.env_set.X=1",
        "workload=tiny,base",
        "own=1",
    ],
)
def test_a_program_says_how_hydra_runs_and_may_sweep(override: str) -> None:
    CONFIGURATION.check_overrides([override], {"own": 0}, program=True)


@pytest.mark.parametrize("override", ["~decoder", "+a=1", "decoder.hidden_size=${oc.env:HOME}", "workload@vision=base"])
def test_a_programs_model_has_the_same_rules(override: str) -> None:
    with pytest.raises(ModelMeterError):
        CONFIGURATION.check_overrides([override], program=True)


def test_many_threads_compose_at_once() -> None:
    modes = ["tiny", "small", "base", "large", "gundam", "gundam_m"] * 4
    with ThreadPoolExecutor(16) as pool:
        configurations = list(pool.map(lambda mode: CONFIGURATION.compose([f"workload={mode}"]), modes))
    assert configurations[:6] * 4 == configurations
    assert len({each.workload.base_size for each in configurations[:6]}) == 4


def test_a_model_is_composed_within_a_composition_and_leaves_it_as_it_was() -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module, version
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_module("modelmeter.models.deepseek_ocr.configs", version_base="1.2", job_name="outer"):
        outer = GlobalHydra.instance().hydra
        assert load_cost_model(["workload=base"]).workload.base_size == 1024
        assert GlobalHydra.instance().hydra is outer
        assert str(version.getbase()) == "1.2"
        common = f"hydra.searchpath=[pkg://{COMMON_CONFIGS}]"
        config = hydra_compose("deepseek_ocr", [common], return_hydra_config=True)
        assert config.hydra.job.name == "outer"


def _page(model: CostModel) -> PageCost:
    return model.page(1275, 1650, 5)


@pytest.mark.parametrize("asked", [False, True], ids=["new", "after_its_first_page"])
def test_a_model_is_sent_to_another_process(asked: bool) -> None:
    model = load_cost_model(["workload=gundam", "execution=published", "runtime.batch_size=2"])
    if asked:
        _page(model)
    sent = pickle.dumps(model)
    again = pickle.loads(sent)
    assert (again.config, again.settings(), again.experts_hit(9)) == (
        model.config,
        model.settings(),
        model.experts_hit(9),
    )
    assert _page(again) == _page(model)
    assert _page(copy.deepcopy(model)) == _page(copy.copy(model)) == _page(model)
    assert pickle.loads(pickle.dumps(model.batched(3))).page(600, 800) == model.batched(3).page(600, 800)


def test_a_spawned_process_has_the_same_figures() -> None:
    model = load_cost_model(["workload=tiny"])
    page = _page(model)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_page, [model]) == [page]


def test_the_kinds_are_those_of_the_schema() -> None:
    def keys(node: dict[str, Any], path: str = "") -> list[str]:
        return [
            key
            for name, value in node.items()
            for key in (keys(value, f"{path}{name}.") if isinstance(value, dict) else [f"{path}{name}"])
        ]

    assert set(ALL_KINDS) == set(keys(asdict(ModelSchema())))
    assert CONFIGURATION.read(json.loads(json.dumps(asdict(ModelSchema())))) == ModelSchema()
    assert replace(CONFIGURATION.read({}), checkpoint=CheckpointSchema()) == ModelSchema()
