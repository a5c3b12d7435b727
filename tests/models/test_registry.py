"""The registry of models."""

import subprocess
import sys

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models import DEFAULT_MODEL, MODELS, model_package


@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_its_promises(name: str) -> None:
    package = model_package(name)
    assert package.__name__ == MODELS[name]
    assert {"workload", "runtime", "execution"} <= set(package.CONFIGURATION.groups)
    for mode in package.MODES:
        cost_model = package.load_cost_model([f"workload={mode}"])
        assert cost_model.workload == package.MODES[mode]
        page = cost_model.page(640, 480)
        assert page.seq_len == page.tokens.total + cost_model.prompt_tokens
        assert sum(views.tokens for views in page.views) == page.tokens.total == sum(page.tokens.by_view().values())
        assert len(page.layout) == len(cost_model.workload.layout_columns)
        assert cost_model.workload.layout_of(tuple(page.layout)) == page.layout


def test_the_default_exists() -> None:
    assert model_package() is model_package(DEFAULT_MODEL)


def test_an_unknown_name_names_the_near_one() -> None:
    with pytest.raises(ModelMeterError, match='model deepseek-ocr does not exist; did you mean "deepseek_ocr"'):
        model_package("deepseek-ocr")


def test_the_registry_imports_no_model() -> None:
    code = "import sys, modelmeter.models; print(*(name for name in sys.modules if name.startswith('modelmeter')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"modelmeter", "modelmeter.errors", "modelmeter.models"}
