"""The path of the published decoder, driven with a stand-in that this test writes; nothing runs without consent."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.models.deepseek_ocr.scripts.verify import run_verify_published
from modelmeter.models.deepseek_ocr.scripts.verify.run_verify_published import decoder_rows
from modelmeter.reference.published_decoder import PACKAGE, load_published_decoder

CONFIGURATION = """
from pathlib import Path

Path(__file__).with_name("was_executed").touch()


class DeepseekV2Config:
    def __init__(self, **values):
        self.values = values
        self.hidden_size = values["hidden_size"]
"""

MODELING = """
from torch import nn

from modelmeter.reference.replica import Decoder, ReplicaCache

from .configuration_deepseek_v2 import DeepseekV2Config


class DeepseekV2Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        assert isinstance(config, DeepseekV2Config) and config._attn_implementation == "eager"
        self.config = config
        self.decoder = Decoder(config.values, eager=True)

    def forward(self, inputs_embeds, past_key_values, use_cache):
        sizes = self.config.values
        most = inputs_embeds.shape[1] * sizes["num_experts_per_tok"]
        self.decoder.declare_experts_hit(min(sizes["n_routed_experts"], most))
        cache = ReplicaCache(getattr(past_key_values, "key_cache", []), getattr(past_key_values, "value_cache", []))
        past_key_values.key_cache, past_key_values.value_cache = cache.keys, cache.values
        return self.decoder(inputs_embeds, cache)
"""

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = {"transformers_version": "4.46.3", "language_config": SIZES}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "configuration_deepseek_v2.py").write_text(CONFIGURATION)
    (tmp_path / "modeling_deepseekv2.py").write_text(MODELING)
    return tmp_path


def overrides() -> list[str]:
    sizes = [f"decoder.{name}={value}" for name, value in SIZES.items()]
    return ["execution=published", "runtime.attention=eager", "vision.projector.n_embed=64", *sizes]


def test_prefill_and_step_are_measured_and_equal(folder: Path) -> None:
    model = load_cost_model(overrides())
    reference = {"folder": str(folder), "trust_remote_code": True}
    rows = decoder_rows(model, reference, 37)
    assert [row[:2] for row in rows] == [("decoder prefill", "37"), ("decoder step", "1 after 37")]
    for _, _, figures, operators in rows:
        assert [figure.difference for figure in figures.values()] == [0, 0, 0]
        assert all(figure.measured > 0 for figure in figures.values())
        assert operators[0] == operators[1]


def test_nothing_is_executed_without_consent(folder: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"reference.trust_remote_code=true"):
        load_published_decoder(folder, trust_remote_code=False)
    assert not (folder / "was_executed").exists()
    assert PACKAGE not in sys.modules or str(folder) not in sys.modules[PACKAGE].__path__


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ModelMeterError, match=r"lacks config.json, configuration_deepseek_v2.py, modeling_deepseekv2.py"
    ):
        load_published_decoder(tmp_path, trust_remote_code=True)


def test_a_failed_import_says_which_version_the_file_was_written_for(folder: Path) -> None:
    (folder / "modeling_deepseekv2.py").write_text("from transformers.cache_utils import GoneSince446\n")
    with pytest.raises(ModelMeterError) as caught:
        load_published_decoder(folder, trust_remote_code=True)
    assert "GoneSince446" in str(caught.value)
    assert f"written for transformers 4.46.3, and {transformers.__version__} is installed" in str(caught.value)


def test_a_failed_construction_says_so(folder: Path) -> None:
    (folder / "modeling_deepseekv2.py").write_text("class DeepseekV2Model:\n    pass\n")
    with pytest.raises(ModelMeterError, match=r"building DeepseekV2Model .* written for transformers 4.46.3"):
        load_published_decoder(folder, trust_remote_code=True)


def test_a_config_that_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelMeterError, match=r"config.json cannot be read"):
        load_published_decoder(folder, trust_remote_code=True)


def test_flash_attention_is_asked_to_be_eager() -> None:
    model = load_cost_model(["execution=published"])
    with pytest.raises(ModelMeterError, match="FlashAttention 2 cannot run here"):
        decoder_rows(model, {"folder": "nowhere", "trust_remote_code": True}, 5)


def test_the_program_without_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["run_verify_published", "reference.folder=nowhere", "runtime.attention=eager"])
    with pytest.raises(SystemExit) as caught:
        run_verify_published.run("verify_published", run_verify_published.OWN_KEYS, run_verify_published.verify)
    assert caught.value.code == 2
    assert "no file nowhere/deepencoder.py" in capsys.readouterr().err
