"""The engine is one choice: it sets the execution and its own keys, and what the user gives wins."""

from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.layers.code import EngineTraits
from modelmeter.models import MODELS, model_package
from modelmeter.models.common.configuration import Configuration
from modelmeter.models.common.engines import (
    BEST,
    CARRIED,
    ENGINE_OF,
    EXECUTION_OF,
    FITTED,
    GIVEN,
    HOST_ORIGIN,
    READ,
    Chosen,
    choose,
    defaults_of,
    origin_of,
    served,
)
from modelmeter.report.throughput_tables import engine_line

EVERY = tuple(EXECUTION_OF.values())
CHOSEN: dict[str, tuple[list[str], Chosen]] = {
    "nothing": ([], Chosen("transformers", "transformers")),
    "engine": (["engine=vllm"], Chosen("vllm", "vllm")),
    "best": (["engine=best"], Chosen("best", "serving")),
    "execution": (["execution=serving"], Chosen("best", "serving")),
    "execution_by_its_key": (["execution.name=sglang"], Chosen("sglang", "sglang")),
    "engine_by_its_key": (["engine.name=sglang"], Chosen("sglang", "sglang")),
    "both_alike": (["execution=published", " engine = published"], Chosen("published", "published")),
    "among_others": (["workload.max_num=9", "engine=sglang", "engine.block_size=4"], Chosen("sglang", "sglang")),
    "unknown_execution": (["execution=none"], Chosen("transformers", "none")),  # refused where its name is read
}


@pytest.mark.parametrize("overrides, chosen", CHOSEN.values(), ids=CHOSEN)
def test_an_engine_sets_the_execution_and_an_execution_alone_the_engine(overrides: list[str], chosen: Chosen) -> None:
    assert choose(overrides, EVERY) == chosen


@pytest.mark.parametrize(
    "executions, engine",
    [(EVERY, "vllm"), (("transformers", "serving"), "best"), (("transformers",), "transformers")],
    ids=["every", "bound", "transformers_alone"],
)
def test_what_serves_is_the_first_that_the_model_has(executions: tuple[str, ...], engine: str) -> None:
    assert served(["runtime.batch_size=2"], executions) == [f"engine={engine}", "runtime.batch_size=2"]
    assert served(["execution=transformers"], executions) == ["execution=transformers"]


REFUSED: dict[str, tuple[list[str], str]] = {
    "unlike": (
        ["engine=vllm", "execution=serving"],
        r"engine=vllm launches execution=vllm, and execution=serving .* is best",
    ),
    "unknown": (["engine=vlm"], r'engine=vlm: there is no such engine; did you mean "vllm"'),
    "lacking": (["engine=sglang"], r"execution=sglang\); there are engine=transformers, engine=best\."),
}


@pytest.mark.parametrize("overrides, words", REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused_by_name(overrides: list[str], words: str) -> None:
    with pytest.raises(ModelMeterError, match=words):
        choose(
            overrides, ("transformers", "serving", "vllm") if "vllm" in overrides[0] else ("transformers", "serving")
        )


def test_every_engine_has_a_file_that_states_every_key() -> None:
    groups = {group: set(values) for group, values in defaults_of("transformers").items()}
    for engine in EXECUTION_OF:
        assert {group: set(values) for group, values in defaults_of(engine).items()} == groups
        assert defaults_of(engine)["engine"]["name"] == engine
    assert set(HOST_ORIGIN) == set(EXECUTION_OF) == set(ENGINE_OF.values())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("engine", EXECUTION_OF)
def test_a_model_takes_what_its_engine_says_and_the_user_wins(name: str, engine: str) -> None:
    package = model_package(name)
    if EXECUTION_OF[engine] not in package.EXECUTIONS:
        with pytest.raises(ModelMeterError, match=f"engine={engine}: nobody has written down"):
            package.load_cost_model([f"engine={engine}"])
        return
    model = package.load_cost_model([f"engine={engine}"])
    assert (model.engine.name, model.config.execution.name) == (engine, EXECUTION_OF[engine])
    said = {f"{group}.{key}": value for group, values in defaults_of(engine).items() for key, value in values.items()}
    own: Configuration[Any] = package.CONFIGURATION
    for key, value in (said | dict(own.engine_keys.get(engine, {}))).items():
        group, _, field = key.partition(".")
        got = getattr(getattr(model.config, group), field)
        assert got == (value == "true" if isinstance(got, bool) else value), key
    mine = package.load_cost_model([f"engine={engine}", "engine.max_num_seqs=7", "host.workers=5"])
    assert (mine.engine.max_num_seqs, mine.host.workers) == (7, 5)


@pytest.mark.parametrize("name", MODELS)
def test_the_engine_at_its_best_is_a_bound_and_no_other_is(name: str) -> None:
    package = model_package(name)
    for engine, execution in EXECUTION_OF.items():
        if execution in package.EXECUTIONS:
            traits = package.EXECUTIONS[execution].traits(EngineTraits)
            assert traits.at_its_best == (engine == BEST), engine


def test_who_serves_where_nobody_says() -> None:
    assert served(["a=1"], ("transformers", "vllm")) == ["engine=vllm", "a=1"]
    assert served(["a=1"], ("transformers", "serving")) == ["engine=best", "a=1"]
    assert served(["execution=transformers"], ("transformers", "vllm")) == ["execution=transformers"]
    why = ", since what vllm launches for this model is not written down"
    for engine, said in (("vllm", ""), (BEST, why)):
        told = engine_line(engine, default=True)[1]
        assert told.startswith(f"{engine}, the default here{said}; engine=NAME takes another")
        assert "the default here" not in engine_line(engine, default=False)[1]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_served_by_an_engine(name: str) -> None:
    """Granite-Docling 500M is in no engine's public code, so what is said of it are bounds."""
    engine = "best" if name == "granite_docling" else "vllm"
    assert served([], model_package(name).EXECUTIONS) == [f"engine={engine}"]


def test_where_a_value_comes_from() -> None:
    assert origin_of("host", "workers", defaults_of("sglang")["host"]["workers"], "sglang") == FITTED
    assert origin_of("host", "workers", defaults_of("vllm")["host"]["workers"], "vllm") == CARRIED
    assert origin_of("host", "workers", 99, "vllm") == GIVEN
    assert origin_of("engine", "block_size", 16, "vllm") == READ


def test_a_result_of_before_there_were_engines_has_that_of_its_execution() -> None:
    package = model_package("deepseek_ocr")
    model = package.restore_cost_model({"execution": {"name": "serving"}}, prompt_tokens=10)
    assert model.engine.name == "best"
    assert load_cost_model().engine.name == "transformers"


def test_the_client_is_a_choice_of_its_own() -> None:
    model = load_cost_model(["client=serial_batches", "client.batch_size=64"])
    assert (model.client.name, model.client.batch_size, model.client.seconds_per_page) == ("serial_batches", 64, 0.6)
