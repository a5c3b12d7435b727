"""Plain overrides are composed without Hydra: the same, key by key, as what Hydra makes of them."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models import MODELS, model_package

pytestmark = pytest.mark.slow  # whole answers, one after another


def by_hydra(configuration: Any, overrides: list[str]) -> dict[str, Any]:
    given = [*configuration._of_engine(overrides), *overrides]
    return asdict(configuration.resolve(configuration.compose_config(configuration.name, given)))


def cases(configuration: Any) -> list[list[str]]:
    chance = random.Random(1)
    values = ("0", "1", "2", "7", "64", "1024", "true", "False", "NULL", "max", "uniform", "last", "float16", "eager")
    choices = [
        *(f"workload={mode}" for mode in configuration.modes),
        *(f"execution={name}" for name in configuration.executions),
        "engine=transformers",
        *(["engine=best"] if "serving" in configuration.executions else []),
    ]
    checkpoints = [f"checkpoint={name}" for name in configuration.checkpoints]
    found = [[], *([each] for each in choices), *([each] for each in checkpoints)]
    found += [[each, chance.choice(choices)] for each in checkpoints]
    keys = [key for key in configuration.keys if not key.startswith("checkpoint.")]
    for _ in range(60):
        given = [f"{chance.choice(keys)}={chance.choice(values)}" for _ in range(chance.choice((1, 1, 2, 3)))]
        found.append([*chance.sample(choices, chance.choice((0, 0, 1))), *given])
    return found


@pytest.mark.parametrize("model", MODELS)
def test_what_is_composed_is_what_hydra_composes(model: str) -> None:
    configuration = model_package(model).CONFIGURATION
    composed = 0
    for overrides in cases(configuration):
        try:
            expected = by_hydra(configuration, overrides)
        except ModelMeterError:
            with pytest.raises(ModelMeterError):
                configuration.compose(overrides)
            continue
        assert asdict(configuration.compose(overrides)) == expected, overrides
        composed += 1
        assert configuration.plain_content([*configuration._of_engine(overrides), *overrides]) is not None, overrides
    assert composed > 10


@pytest.mark.parametrize(
    "override",
    [
        "vision.sam.global_attn_indexes=[2]",
        "runtime.dtype='float16'",
        "host.spread=0.25",
        "runtime.batch_size=-1",
        "host.spread=nan",
        "host.spread=Inf",
        "runtime.batch_size=007",
        "runtime.batch_size=1_0",
        "client=serial_batches",
    ],
)
def test_all_else_is_read_by_hydra(override: str) -> None:
    assert model_package("deepseek_ocr").CONFIGURATION.plain_content([override]) is None


@pytest.mark.parametrize("chosen", ["'workload=base'", "'--model', 'olmocr_2_7b'"])
def test_a_page_from_the_shell_needs_no_hydra(chosen: str) -> None:
    code = (
        f"import sys\nfrom modelmeter.cli.main import main\nassert main(['page', '50x50', {chosen}, "
        "'runtime.batch_size=2', 'engine=vllm']) == 0\nassert not {'hydra', 'omegaconf', 'antlr4'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
