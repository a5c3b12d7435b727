"""The registry of models, and the one door to them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import modelmeter
from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import DEFAULT_MODEL, MODELS, NOT_MODELLED, checkpoints, model_package
from modelmeter.output_tokens import tokenizers

pytestmark = pytest.mark.slow  # seconds, not for every change


@pytest.mark.parametrize("name", [*MODELS, "toy"])
def test_every_model_keeps_its_promises(name: str, toy: str) -> None:
    package = model_package(name)
    assert package.__name__ == MODELS.get(name, "tests.toy_model")
    assert {"workload", "runtime", "execution"} <= set(package.CONFIGURATION.groups)
    assert package.TITLE and package.SOURCES and package.CHECKPOINTS and package.PROVEN
    assert len(package.IMAGE_RULE) <= 120 and "\n" not in package.IMAGE_RULE
    assert package.TOKENIZER is None or package.TOKENIZER in tokenizers()
    assert sorted(package.EXECUTIONS) == package.CONFIGURATION.group_options("execution")
    assert all(name == execution.name for name, execution in package.EXECUTIONS.items())
    assert set(package.CHECKPOINTS) == {each for each, model in checkpoints().items() if model == name}
    assert package.CONFIGURATION.checkpoints == package.CHECKPOINTS
    assert package.load_cost_model().config.checkpoint.name == package.CHECKPOINTS[0]
    for mode in package.MODES:
        cost_model = package.load_cost_model([f"workload={mode}"])
        workload = cost_model.workload
        assert workload == package.MODES[mode]
        page = cost_model.page(640, 480)
        assert page.seq_len == page.tokens.total + cost_model.prompt_of(page.layout)
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


@pytest.mark.parametrize("name", [*MODELS, "toy"])
def test_every_checkpoint_says_whose_it_is(name: str, toy: str) -> None:
    package = model_package(name)
    for checkpoint in package.CHECKPOINTS:
        cost_model = load_cost_model(model=checkpoint)
        facts = cost_model.config.checkpoint
        assert facts == package.CONFIGURATION.checkpoint_facts(checkpoint)
        assert facts.name == checkpoint and facts.source
        assert [each.text for each in cost_model.assumptions() if each.figure == "checkpoint"] == [
            text for text in (facts.unconfirmed,) if text
        ]
        assert cost_model.workload in package.MODES.values()
        for mode, workload in package.MODES.items():  # a workload by name goes before the checkpoint's own
            assert load_cost_model([f"workload={mode}"], model=checkpoint).workload == workload


def test_no_two_checkpoints_share_a_name(toy: str) -> None:
    folders = (Path(model_package(name).__file__ or "").parent / "configs" / "checkpoint" for name in (*MODELS, toy))
    names = [file.stem for folder in folders for file in folder.glob("*.yaml")]
    assert len(names) == len(set(names))
    assert all(names.count(name) == 0 or checkpoints()[name] == name for name in MODELS)


def test_the_door_leads_to_every_model(toy: str) -> None:
    assert modelmeter.__all__ == ["load_cost_model"]
    assert type(load_cost_model()) is type(model_package(DEFAULT_MODEL).load_cost_model())
    assert load_cost_model(["workload=thumbnail"], model=toy).page(2000, 900).tokens.total == 13 * 13
    wide = load_cost_model(model="toy_wide")
    for overrides, model in (
        (["checkpoint=toy_wide"], None),
        (["checkpoint=toy_wide"], "toy"),
        (["model=toy", "checkpoint=toy_wide"], "toy_wide"),
        ([" model = toy_wide "], None),
    ):
        assert load_cost_model(overrides, model=model).config == wide.config
    assert load_cost_model(["runtime.batch_size=2", "model=toy"]).batch_size == 2
    assert load_cost_model(["decoder.hidden_size=48"], model="toy_wide").config.decoder.hidden_size == 48
    with pytest.raises(ModelMeterError, match='model ty does not exist; did you mean "toy"'):
        load_cost_model(model="ty")
    with pytest.raises(ModelMeterError, match=f"model=toy,{DEFAULT_MODEL} names several models; .* give one"):
        load_cost_model(model=f"toy,{DEFAULT_MODEL}")


@pytest.mark.parametrize(
    "overrides, words",
    [
        (
            "workload=base",
            r"overrides='workload=base' is one text, and overrides are a list of them; give \['workload=b",
        ),
        ("lighton_ocr", "overrides='lighton_ocr' is one text, .*; a model's name is model='lighton_ocr'."),
        (
            {"workload": "base", "workload.crop_mode": True},
            r'a dict; .* \["workload=base", "workload.crop_mode=true"\]',
        ),
        (None, "overrides=None is a NoneType; give a list of texts, as in"),
        ((each for each in ["workload=base"]), "is a generator; give a list of texts"),
        ([("workload", "base")], r"override \('workload', 'base'\) is a tuple; each is a text, as in"),
    ],
)
def test_overrides_are_a_list_of_texts(overrides: Any, words: str) -> None:
    for load in (load_cost_model, model_package().load_cost_model):
        with pytest.raises(ModelMeterError, match=f"load_cost_model: .*{words}"):
            load(overrides)


def test_what_is_not_modelled_is_refused_with_the_reason(tmp_path: Path) -> None:
    reason = (
        r"gated delta rules: .* triangular systems .* no formula here that was held against a real run.*: chandra\."
    )
    for named in ({"model": "chandra_2"}, {"overrides": ["checkpoint=chandra_2"]}):
        with pytest.raises(ModelMeterError, match=rf"(model|checkpoint) chandra_2 is not modelled: .*{reason}"):
            load_cost_model(**named)  # type: ignore[arg-type]
    for name in ("datalab-to/chandra-ocr-2", "chandra-ocr-2", "chandra_ocr_2", "chandra2", "Chandra-2"):
        with pytest.raises(ModelMeterError, match=rf"model {name} is not modelled: .*{reason}"):
            load_cost_model(model=name)
    config = {"architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ModelMeterError, match=rf"Generation \(model_type qwen3_5\) is not modelled, as chandra_2.*{reason}"
    ):
        load_cost_model(model=str(tmp_path))
    assert not set(NOT_MODELLED) & {*MODELS, *checkpoints()}


@pytest.mark.parametrize(
    "name, architecture, reason",
    [
        ("stepfun-ai/GOT-OCR-2.0-hf", "GotOcr2ForConditionalGeneration", "no package was written for it"),
        ("rednote-hilab/dots.ocr", "DotsOCRForCausalLM", "nothing here to hold a figure against"),
    ],
)
def test_others_that_people_ask_for_are_refused_with_the_reason(
    name: str, architecture: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelMeterError, match=f"model {name} is not modelled: .*{reason}"):
        load_cost_model(model=name)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture], "model_type": "its_own"}))
    with pytest.raises(ModelMeterError, match=f"{architecture} .*is not modelled, as .*{reason}"):
        load_cost_model(model=str(tmp_path))


def test_a_model_is_a_name_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match="load_cost_model: model=5 is an int; give the name of a model or a"):
        load_cost_model(model=5)  # type: ignore[arg-type]
    with pytest.raises(ModelMeterError, match=r"config\.json"):
        load_cost_model(model=tmp_path)


def test_the_name_of_a_cost_model_is_its_models(toy: str) -> None:
    for name in (*MODELS, toy):
        assert load_cost_model(model=name).name == name


def test_the_default_exists() -> None:
    assert model_package() is model_package(DEFAULT_MODEL)


def test_what_is_not_one_model_with_one_checkpoint_is_refused(toy: str) -> None:
    for overrides, model, words in (
        (["model=toy,toy_wide"], None, "model=toy,toy_wide names several models; a cost is one model's, so give one."),
        (["checkpoint=toy,toy_wide"], None, "checkpoint=toy,toy_wide names several checkpoints; a cost is one check"),
        (["checkpoint=toy_wide", "checkpoint=toy"], None, "checkpoint=toy_wide and checkpoint=toy are several check"),
        (["checkpoint=toy_wide"], "unlimited_ocr", "checkpoint=toy_wide is a checkpoint of toy, model=unlimited_ocr "),
        (
            ["model=toy"],
            "unlimited_ocr",
            "model=unlimited_ocr is the model unlimited_ocr, model=toy asks for toy;",
        ),
        (["checkpoint=toy_wid"], None, 'checkpoint toy_wid does not exist; did you mean "toy_wide" or "toy"?'),
        (["model=toywide"], None, 'model toywide does not exist; did you mean "toy_wide" or "toy"?'),
        (["checkpoint="], None, "checkpoint  does not exist; the options are deepseek_ocr, "),
    ):
        with pytest.raises(ModelMeterError, match=re.escape(words)):
            load_cost_model(overrides, model=model)
    with pytest.raises(ModelMeterError, match=r"checkpoint=toy: there is no such checkpoint; .*deepseek_ocr"):
        model_package().load_cost_model(["checkpoint=toy"])
    with pytest.raises(ModelMeterError, match="would say another origin of the same values; choose a checkpoint"):
        load_cost_model(["checkpoint.source=elsewhere"])


def test_an_unknown_name_names_the_near_one() -> None:
    with pytest.raises(ModelMeterError, match='model deepseek-ocr does not exist; did you mean "deepseek_ocr"'):
        model_package("deepseek-ocr")


def test_the_registry_imports_no_model() -> None:
    code = "import sys, modelmeter.models; print(*(name for name in sys.modules if name.startswith('modelmeter')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"modelmeter", "modelmeter.checks", "modelmeter.errors", "modelmeter.models"}
