"""Folders with a user's own checkpoint, on the toy: what is read of their files, and what is refused."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.errors import ModelMeterError
from modelmeter.models import find, model_package
from modelmeter.models.common.checkpoint_files import MOST_BYTES
from tests import toy_model

Write = Callable[..., str]

CONFIG = {
    "architectures": ["ToyForConditionalGeneration"],
    "model_type": "toy",
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "text_config": {"hidden_size": 64, "num_hidden_layers": 3, "head_dim": 16, "dtype": None, "pad_token_id": None},
    "vision_config": {"depth": 4, "quantization_config": None},
    "audio_config": None,
    "temperature": 0.1,
}
PREPROCESSOR = {"patch_size": 14, "processor_class": "ToyProcessor"}
SAME = ["decoder.hidden_size=64", "decoder.num_hidden_layers=3", "vision.depth=4", "workload.patch_size=14"]


@pytest.fixture
def write(toy: str, tmp_path: Path) -> Write:
    """write(config, preprocessor, name) -> a folder with these files; text is written as it is, None not at all."""

    def write(config: Any = CONFIG, preprocessor: Any = PREPROCESSOR, name: str = "preprocessor_config.json") -> str:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        for file, content in (("config.json", config), (name, preprocessor)):
            if content is not None:
                (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))
        return str(folder)

    return write


def changed(path: str, value: Any) -> dict[str, Any]:
    """`CONFIG` with one value more or another one."""
    config: dict[str, Any] = json.loads(json.dumps(CONFIG))
    *groups, name = path.split(".")
    node = config
    for group in groups:
        node = node[group]
    node[name] = value
    return config


def test_a_folder_is_the_model_with_its_values(write: Write) -> None:
    folder = write()
    model = load_cost_model(model=folder)
    assert find(folder) == ("toy", [f"checkpoint={folder}"])
    assert model.page(640, 480, 3) == toy_model.load_cost_model(SAME).page(640, 480, 3)
    for same in ([f"checkpoint={folder}"], [f"model={folder}"], [f" checkpoint = {folder} "]):
        assert load_cost_model(same).config == model.config
    assert toy_model.load_cost_model([f"checkpoint={folder}"]).config == model.config


def test_what_is_said_of_it(write: Write) -> None:
    folder = write()
    files = [Path(folder, name).read_bytes() for name in ("config.json", "preprocessor_config.json")]
    model = load_cost_model(model=folder)
    facts = model.config.checkpoint
    assert (facts.name, facts.unconfirmed) == ("mine", None)
    assert facts.source == f"config.json and preprocessor_config.json in {folder}"
    assert facts.revision == f"sha256 {hashlib.sha256(b''.join(files)).hexdigest()[:16]}"
    assert model.settings()["checkpoint"] == "mine"


@pytest.mark.parametrize("content", [PREPROCESSOR, {"image_processor": PREPROCESSOR, "anything": 1}])
def test_a_processor_may_hold_the_image_processor(write: Write, content: dict[str, Any]) -> None:
    folder = write(preprocessor=content, name="processor_config.json")
    assert load_cost_model(model=folder).config.workload.patch_size == 14


def test_overrides_win(write: Write) -> None:
    folder = write(changed("torch_dtype", "float16"), {"patch_size": 14, "max_patches": 32})
    model = load_cost_model(["decoder.num_hidden_layers=2", "workload.max_patches=20"], model=folder)
    assert model.config.decoder.num_hidden_layers == 2
    assert model.config.runtime.dtype == "float16"
    assert (model.config.workload.patch_size, model.config.workload.max_patches) == (14, 20)
    assert load_cost_model(["runtime.dtype=float32"], model=folder).config.runtime.dtype == "float32"
    named = load_cost_model(["workload=thumbnail"], model=folder)
    assert named.workload == toy_model.MODES["thumbnail"]
    assert named.config.decoder.hidden_size == 64
    assert load_cost_model(["decoder=toy"], model=folder).config.decoder.hidden_size == 32


def test_a_result_is_made_again_without_the_folder(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write()
    assert main(["page", "640x480", "--model", folder, "--json"]) == 0
    result = Path(folder).with_name("mine.json")
    result.write_text(capsys.readouterr().out)
    shutil.rmtree(folder)
    content = json.loads(result.read_text())
    again = model_package("toy").restore_cost_model(content["configuration"], prompt_tokens=10)
    assert again.page(640, 480) == toy_model.load_cost_model(SAME).page(640, 480)
    assert main(["diff", str(result), str(result)]) == 0
    assert "no operator differs" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["page", "modes", "diff"])
def test_commands_take_it(write: Write, capsys: pytest.CaptureFixture[str], command: str) -> None:
    sides = ["--a", "runtime.batch_size=1", "--b", "execution=serving"] if command == "diff" else []
    assert main([command, "640x480", "--model", write(), *sides, "--json"]) == 0
    assert '"mine"' in capsys.readouterr().out or command == "diff"


def test_two_folders_are_compared(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write()
    assert main(["diff", "640x480", "--a", "model=toy", "--b", f"model={folder}", "--top", "1"]) == 0
    assert re.search(r"checkpoint.name +toy -> mine", capsys.readouterr().out)


NESTED = "[" * 30 + "]" * 30
FILES = {  # config.json, preprocessor_config.json, what is said
    "no_config": (None, PREPROCESSOR, "config.json does not exist; check the path."),
    "no_preprocessor": (CONFIG, None, "has neither preprocessor_config.json nor processor_config.json, so what"),
    "no_json": ("{", PREPROCESSOR, "config.json is no JSON"),
    "twice": ('{"model_type": "toy", "model_type": "toy"}', PREPROCESSOR, "duplicate name 'model_type'"),
    "nan": ('{"x": NaN}', PREPROCESSOR, "NaN is no number"),
    "deep": (f'{{"x": {NESTED}}}', PREPROCESSOR, "more than 20 mappings and lists within each other"),
    "large": (" " * (MOST_BYTES + 1), PREPROCESSOR, f"at most {MOST_BYTES:,} are read"),
    "list": ("[]", PREPROCESSOR, "config.json holds []; a mapping of a model's keys is expected."),
    "preprocessor_no_json": (CONFIG, "{", "preprocessor_config.json is no JSON"),
    "preprocessor_list": (CONFIG, "[1]", "preprocessor_config.json holds [1]; a mapping"),
    "preprocessor_key": (CONFIG, {"longest_edge": 3}, "preprocessor_config.json: longest_edge=3 is not modelled"),
    "inner_list": (CONFIG, {"image_processor": [1]}, "holds [1]; a mapping of its keys is expected."),
}


@pytest.mark.parametrize("config, preprocessor, words", FILES.values(), ids=FILES)
def test_files_that_cannot_be_read(write: Write, config: Any, preprocessor: Any, words: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(words)):
        load_cost_model(model=write(config, preprocessor))


VALUES = {  # a key of config.json, its value, what is said
    "class": (
        "architectures",
        ["LlavaForConditionalGeneration"],
        "is of LlavaForConditionalGeneration (model_type toy), which is not modelled; these are: DeepseekOCRFor",
    ),
    "quantised": ("quantization_config", {"bits": 4}, "quantization_config={'bits': 4}: quantised weights are not"),
    "quantised_inside": ("text_config.quantization_config", {}, "text_config.quantization_config={}: quantised"),
    "unknown": ("text_config.sliding_window", 128, "text_config.sliding_window=128 is not modelled and could change"),
    "misspelt": ("text_config.hiden_size", 9, 'text_config.hiden_size=9 is not modelled .* did you mean "hidden_size"'),
    "fixed": ("text_config.hidden_act", "gelu", "text_config.hidden_act='gelu' is not modelled; 'silu' is."),
    "true_is_not_1": ("text_config.tie_word_embeddings", 0, "tie_word_embeddings=0 is not modelled; False is."),
    "beams": ("num_beams", 4, "num_beams=4 is not modelled; 1 is."),
    "fixed_in_all": ("vision_config.output_attentions", True, "output_attentions=True is not modelled; False is."),
    "type": ("text_config.hidden_size", "64", "config.json: text_config.hidden_size='64' is no whole number"),
    "null": ("text_config.hidden_size", None, "config.json: text_config.hidden_size=None is no whole number"),
    "size": ("text_config.hidden_size", 2**30, "text_config.hidden_size=1073741824 is too large"),
    "required": ("text_config", {"num_hidden_layers": 3}, "config.json: text_config.hidden_size is missing; add it."),
    "mapping": ("text_config", 3, "text_config holds 3; a mapping of its keys is expected."),
    "together": ("text_config.head_dim", 99, "heads of head_dim=99 are not modelled"),
    "heads": ("text_config.num_key_value_heads", 3, "does not divide by num_key_value_heads=3"),
    "type_of_weights": ("dtype", "float8_e4m3fn", "dtype='float8_e4m3fn' is not modelled; 'bfloat16' or"),
    "two_types": ("text_config.dtype", "float32", "text_config.dtype='float32', but torch_dtype='bfloat16': some code"),
    "escapes": ("text_config.a\x1b[31m", 1, r"text_config.a\\x1b[31m=1 is not modelled"),
}


@pytest.mark.parametrize("key, value, words", VALUES.values(), ids=VALUES)
def test_values_that_are_not_modelled(write: Write, key: str, value: Any, words: str) -> None:
    with pytest.raises(ModelMeterError) as refused:
        load_cost_model(model=write(changed(key, value)))
    assert re.search(re.escape(words).replace(r"\.\*", ".*").replace(r"\\\\", r"\\"), str(refused.value))


def test_without_architectures_the_type_says_the_class(write: Write) -> None:
    config = {key: value for key, value in CONFIG.items() if key != "architectures"}
    assert load_cost_model(model=write(config)).config.vision.depth == 4
    del config["model_type"]
    with pytest.raises(ModelMeterError, match="is of no model_type, without architectures, which is not modelled"):
        load_cost_model(model=write(config))


def test_a_folder_of_another_model(write: Write) -> None:
    folder = write()
    words = r"is of ToyForConditionalGeneration \(model_type toy\); this model takes DeepseekOCRForCausalLM"
    with pytest.raises(ModelMeterError, match=words):
        model_package().load_cost_model([f"checkpoint={folder}"])
    with pytest.raises(ModelMeterError, match="is a checkpoint of toy, model=deepseek_ocr asks for deepseek_ocr"):
        load_cost_model([f"checkpoint={folder}"], model="deepseek_ocr")


def test_names_go_before_folders(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(write())
    monkeypatch.chdir(folder.parent)
    folder.rename("toy")
    assert load_cost_model(model="toy").config.checkpoint.name == "toy"
    assert load_cost_model(model="toy").config.vision.depth == 2
    assert load_cost_model(model="./toy").config.vision.depth == 4
    Path("toy").rename("own")
    assert load_cost_model(model="own").config.checkpoint.name == "own"
    monkeypatch.chdir("own")
    assert load_cost_model(model=".").config.checkpoint.name == "own"
    with pytest.raises(ModelMeterError, match=r"checkpoint \./nothing is no folder; give one with a config.json"):
        load_cost_model(model="./nothing")
    with pytest.raises(ModelMeterError, match=r"checkpoint=\. and checkpoint=toy are several checkpoints; give one"):
        load_cost_model(["checkpoint=.", "checkpoint=toy"])
