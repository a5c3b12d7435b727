"""The published files by stand-ins, under two versions of transformers; nothing runs without consent."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import transformers

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.models.deepseek_ocr.reference.published_decoder import PACKAGE, load_published_decoder
from modelmeter.models.deepseek_ocr.scripts.verify import run_verify_published
from modelmeter.models.deepseek_ocr.scripts.verify.run_verify_published import decoder_rows
from tests.models.deepseek_ocr.reference.published_stand_ins import SIZES, write_stand_ins

ROOT = Path(__file__).parents[4]

VISION = ("image_encoder_vit", "vit_model", "mlp_projector")
FIGURES = ("tensor-core FLOPs", "bytes moved", "activation peak, bytes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_stand_ins(tmp_path / "published")


def arguments(folder: Path, tokens: int = 37) -> list[str]:
    """Of run_verify_published, for the stand-ins' small decoder."""
    sizes = [f"decoder.{name}={value}" for name, value in SIZES.items()]
    reference = [f"reference.folder={folder}", "reference.trust_remote_code=true"]
    run = [f"tokens={tokens}", "views=[[2,128]]", f"hydra.run.dir={folder.parent}/run"]
    return [*reference, *run, "runtime.attention=eager", "vision.projector.n_embed=64", *sizes]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│\n ").split("│")]


def table_rows(printed: str) -> dict[tuple[str, str], list[str]]:
    """By part and figure: size, analytic, measured, difference, verdict."""
    rows = [cells(line) for line in printed.splitlines() if line.startswith("│")]
    return {(part, figure): [size, *rest] for part, size, figure, *rest in rows}


@pytest.fixture(scope="module")
def under_their_own_transformers(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """run_verify_published where transformers is like 4.46.3; so few tokens that they cannot hit every expert."""
    folder = write_stand_ins(tmp_path_factory.mktemp("older") / "published")
    command = [
        sys.executable,
        "-m",
        "tests.models.deepseek_ocr.reference.older_transformers",
        *arguments(folder, tokens=5),
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_under_their_own_transformers_everything_is_compared_and_agrees(
    under_their_own_transformers: subprocess.CompletedProcess[str],
) -> None:
    ran = under_their_own_transformers
    assert ran.returncode == 0, ran.stderr
    rows = table_rows(ran.stdout)
    parts = (*VISION, "decoder prefill", "decoder step")
    assert set(rows) == {(part, figure) for part in parts for figure in FIGURES}
    sizes = dict.fromkeys(VISION, "2 x 128") | {"decoder prefill": "5", "decoder step": "1 after 5"}
    for part in parts:
        for figure in FIGURES:
            size, analytic, measured, difference, verdict = rows[part, figure]
            assert (size, difference, verdict) == (sizes[part], "0", "ok")
            assert analytic == measured != "0"


def test_names_of_operators_are_whole(under_their_own_transformers: subprocess.CompletedProcess[str]) -> None:
    lines = [line for line in under_their_own_transformers.stdout.splitlines() if "peak at" in line]
    peak = re.compile(r"(.+): peak at (aten\.\w+\.\w+), measured at (aten\.\w+\.\w+): ok")
    found = [peak.fullmatch(line) for line in lines]
    assert [match and match[1] for match in found] == [
        *(f"{part} 2 x 128" for part in VISION), "decoder prefill 5", "decoder step 1 after 5"
    ]  # fmt: skip
    assert all(match and match[2] == match[3] for match in found)


def test_the_experts_that_the_routing_hit_are_those_read(
    under_their_own_transformers: subprocess.CompletedProcess[str],
) -> None:
    prefill, step = (line for line in under_their_own_transformers.stdout.splitlines() if "experts hit" in line)
    counted = re.fullmatch(r"decoder prefill 5: (\d+) experts hit, of 16 that .* in 2 layers; those are read", prefill)
    assert counted and int(counted[1]) < 16
    assert step.startswith("decoder step 1 after 5: 4 experts hit, of 4 ")


def test_what_takes_long_is_said(under_their_own_transformers: subprocess.CompletedProcess[str]) -> None:
    attention, dense, expert, gate = 4 * 64 * 64, 3 * 64 * 96, 3 * 64 * 32, 8 * 64
    weights = 100 * 64 + 3 * attention + dense + 2 * (gate + 8 * expert + 2 * expert)
    assert f"drawing {weights:,} random weights for the decoder" in under_their_own_transformers.stderr


def test_under_the_installed_transformers_vision_is_printed_and_one_line_refuses_the_decoder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(arguments(folder), monkeypatch) == 2
    printed, said = capsys.readouterr()
    rows = table_rows(printed)
    assert set(rows) == {(part, figure) for part in VISION for figure in FIGURES}
    assert {row[-1] for row in rows.values()} == {"ok"}
    assert said == (
        f"error: reference=published: importing {folder}/modeling_deepseekv2.py failed with ImportError: cannot import "
        "name 'LlamaFlashAttention2' from 'transformers.models.llama.modeling_llama'; it was written for transformers "
        f"4.46.3, and {transformers.__version__} is installed: run make published-check, which sets up an environment "
        "with that version, or measure the replica (run_verify_end2end execution=published).\n"
    )


def run_program(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """The exit status of run_verify_published."""
    monkeypatch.setattr(sys, "argv", ["run_verify_published", *overrides])
    with pytest.raises(SystemExit) as caught:
        run_verify_published.run("verify_published", run_verify_published.OWN_KEYS, run_verify_published.verify)
    return caught.value.code


def test_a_package_that_the_decoder_needs_is_named(folder: Path) -> None:
    path = folder / "modeling_deepseekv2.py"
    path.write_text("import no_such_package\n" + path.read_text())
    with pytest.raises(ModelMeterError, match=r"modeling_deepseekv2.py imports no_such_package, not installed here"):
        load_published_decoder(folder, trust_remote_code=True)


def test_nothing_is_executed_without_consent(folder: Path) -> None:
    path = folder / "configuration_deepseek_v2.py"
    path.write_text("from pathlib import Path\nPath(__file__).with_name('was_executed').touch()\n" + path.read_text())
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


def test_a_failed_pass_says_so(folder: Path) -> None:
    (folder / "modeling_deepseekv2.py").write_text(
        "from torch import nn\n\n\nclass DeepseekV2Model(nn.Linear):\n"
        "    def __init__(self, config):\n        super().__init__(2, 2)\n        self.config = config\n\n"
        "    def forward(self, inputs_embeds, past_key_values, use_cache):\n        past_key_values.seen_tokens\n"
    )
    decoder = load_published_decoder(folder, trust_remote_code=True)
    with pytest.raises(
        ModelMeterError, match=r"running DeepseekV2Model failed with AttributeError: .*seen_tokens.*4.46.3"
    ):
        decoder.run(3)


def test_a_config_that_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelMeterError, match=r"config.json cannot be read"):
        load_published_decoder(folder, trust_remote_code=True)


def test_flash_attention_is_asked_to_be_eager() -> None:
    model = load_cost_model(["execution=published"])
    with pytest.raises(ModelMeterError, match="FlashAttention 2 cannot run here"):
        decoder_rows(model, {"folder": "nowhere", "trust_remote_code": True}, 5)


def test_the_program_without_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["reference.folder=nowhere", "runtime.attention=eager"], monkeypatch) == 2
    assert "no file nowhere/deepencoder.py" in capsys.readouterr().err
