"""The registry of models, and the one door to them."""

import subprocess
import sys

import pytest

import modelmeter
from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import DEFAULT_MODEL, MODELS, model_package


@pytest.mark.parametrize("name", [*MODELS, "toy"])
def test_every_model_keeps_its_promises(name: str, toy: str) -> None:
    package = model_package(name)
    assert package.__name__ == MODELS.get(name, "tests.toy_model")
    assert {"workload", "runtime", "execution"} <= set(package.CONFIGURATION.groups)
    assert package.TITLE and package.SOURCES and package.CHECKPOINTS and package.PROVEN
    assert len(package.IMAGE_RULE) <= 120 and "\n" not in package.IMAGE_RULE
    assert sorted(package.EXECUTIONS) == package.CONFIGURATION.group_options("execution")
    assert all(name == execution.name for name, execution in package.EXECUTIONS.items())
    for mode in package.MODES:
        cost_model = package.load_cost_model([f"workload={mode}"])
        workload = cost_model.workload
        assert workload == package.MODES[mode]
        page = cost_model.page(640, 480)
        assert page.seq_len == page.tokens.total + cost_model.prompt_tokens
        assert sum(views.tokens for views in page.views) == page.tokens.total == sum(page.tokens.by_view().values())
        assert {views.name for views in page.views} <= set(page.tokens.by_view())
        assert len(page.layout) == len(workload.layout_columns)
        assert set(workload.layout_words) == set(page.layout._asdict())
        assert workload.layout_of(tuple(page.layout)) == page.layout
        assert len({workload.layout_text(layout) for layout in (page.layout, tuple(page.layout))}) == 1


@pytest.mark.parametrize("name", [*MODELS, "toy"])
def test_many_pages_are_laid_out_as_one_is(name: str, toy: str) -> None:
    sizes = [(width, height) for width in (1, 90, 641, 1275, 4000) for height in (1, 320, 700, 1650, 9000)]
    for workload in model_package(name).MODES.values():
        indices, layouts = workload.layouts(*zip(*sizes, strict=True))
        for index, size in zip(indices, sizes, strict=True):
            try:
                alone = workload.layout(*size)
            except ModelMeterError:  # of many pages, one that is refused has a layout that is none
                with pytest.raises(ModelMeterError):
                    workload.layout_of(layouts[index])
            else:
                assert layouts[index] == alone
        assert len(set(layouts)) == len(layouts)


def test_the_door_leads_to_every_model(toy: str) -> None:
    assert modelmeter.__all__ == ["load_cost_model"]
    assert type(load_cost_model()) is type(model_package(DEFAULT_MODEL).load_cost_model())
    assert load_cost_model(["workload=thumbnail"], model=toy).page(2000, 900).tokens.total == 13 * 13
    with pytest.raises(ModelMeterError, match='model ty does not exist; did you mean "toy"'):
        load_cost_model(model="ty")
    with pytest.raises(ModelMeterError, match=f"model=toy,{DEFAULT_MODEL} names several models; .* give one"):
        load_cost_model(model=f"toy,{DEFAULT_MODEL}")


def test_the_default_exists() -> None:
    assert model_package() is model_package(DEFAULT_MODEL)


def test_an_unknown_name_names_the_near_one() -> None:
    with pytest.raises(ModelMeterError, match='model deepseek-ocr does not exist; did you mean "deepseek_ocr"'):
        model_package("deepseek-ocr")


def test_the_registry_imports_no_model() -> None:
    code = "import sys, modelmeter.models; print(*(name for name in sys.modules if name.startswith('modelmeter')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"modelmeter", "modelmeter.errors", "modelmeter.models"}
