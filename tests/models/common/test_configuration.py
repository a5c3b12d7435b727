"""`Configuration` of all models, on the toy: what is composed, and what is refused by near names."""

import re
from dataclasses import asdict, replace
from importlib.resources import files

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.configuration import COMMON_CONFIGS, CheckpointSchema
from tests.toy_model import CONFIGURATION, MODES, load_cost_model
from tests.toy_model.config import ModelSchema


def test_the_files_state_what_the_schema_does() -> None:
    assert CONFIGURATION.compose(()) == CONFIGURATION.read({})
    assert replace(CONFIGURATION.read({}), checkpoint=CheckpointSchema()) == ModelSchema()
    assert CONFIGURATION.groups == (
        "vision",
        "decoder",
        "workload",
        "runtime",
        "execution",
        "engine",
        "host",
        "client",
        "precision",
        "parallel",
        "checkpoint",
    )
    assert CONFIGURATION.group_options("execution") == ["serving", "transformers"]


def test_common_files_are_found_behind_the_models_own() -> None:
    common = files(COMMON_CONFIGS)
    assert CONFIGURATION.group_options("runtime") == ["default"]
    assert not (files("tests.toy_model.configs") / "runtime").is_dir()
    assert (common / "execution" / "published.yaml").is_file()  # which the toy has not: see `group_options` above
    for name in CONFIGURATION.executions:
        assert (common / "execution" / f"{name}.yaml").is_file()
        assert CONFIGURATION.compose([f"execution={name}"]).execution.name == name


def test_the_modes_are_the_choices_of_workload() -> None:
    for mode, workload in MODES.items():
        assert asdict(CONFIGURATION.compose([f"workload={mode}"]).workload) == asdict(workload)


REFUSED = {
    "decoder.hiden_size=3": 'config key decoder.hiden_size does not exist.* did you mean "decoder.hidden_size"',
    "workload.base_size=640": "config key workload.base_size does not exist",
    "decoder.n_routed_experts=4": "config key decoder.n_routed_experts does not exist",
    "runtime.draft.tokens=3": 'config key runtime.draft.tokens does not exist.* did you mean "runtime.draft_tokens"',
    "workload=thumbnails": 'there is no such workload; did you mean "thumbnail"?',
    "workload=gundam": "there is no such workload; the options are page, thumbnail.",
    "execution=published": "there is no such execution; the options are serving, transformers.",
    "workload.max_patches=3": "workload.max_patches=3",
    "vision.num_heads=5": "vision.hidden_size=24 does not divide by vision.num_heads=5",
    "decoder.num_key_value_heads=3": "num_attention_heads=4 does not divide by num_key_value_heads=3",
    "runtime.attention=flsh": 'attention=flsh is unknown; did you mean "flash"?',
    "execution.name=servin": 'execution=servin is unknown; did you mean "serving"?',
}


@pytest.mark.parametrize("override, words", REFUSED.items(), ids=REFUSED)
def test_what_is_refused(override: str, words: str) -> None:
    with pytest.raises(ModelMeterError) as refusal:
        load_cost_model([override])
    assert re.search(words, str(refusal.value))


def test_eager_attention_of_an_execution_without() -> None:
    with pytest.raises(
        ModelMeterError, match=r"attention=eager, but execution=serving.*or take execution=transformers"
    ):
        load_cost_model(["execution=serving", "runtime.attention=eager"])
