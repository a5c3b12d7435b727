"""The path of the published code, driven with a small stand-in; nothing runs without consent."""

from pathlib import Path

import pytest
import torch
from torch import nn

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.reference.published import PublishedVision, load_published_vision
from modelmeter.reference.flops import measure_flops

STAND_IN = """
import torch
from torch import nn
from pathlib import Path

Path(__file__).with_name("was_executed").touch()
try:
    import no_such_optional_package
except ImportError:
    no_such_optional_package = None

class Sam(nn.Module):
    def __init__(self):
        super().__init__()
        self.net_3 = nn.Conv2d(3, 1024, kernel_size=64, stride=64, bias=False)
    def forward(self, x):
        return self.net_3(x)

class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(1024))
        self.fc = nn.Linear(1024, 1024)
    def forward(self, x, patch_embeds):
        assert x.shape[0] == patch_embeds.shape[0]
        tokens = patch_embeds.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), tokens], dim=1)
        return self.fc(tokens)

class MlpProjector(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        assert cfg.projector_type == "linear" and cfg.get("depth", 1) == 1
        assert not hasattr(cfg, "mlp_ratio")
        self.layers = nn.Linear(cfg.input_dim, cfg.n_embed)
    def forward(self, x):
        return self.layers(x)

def build_sam_vit_b(checkpoint=None):
    return Sam()

def build_clip_l():
    return Clip()
"""


def folder_with(tmp_path: Path, source: str) -> Path:
    (tmp_path / "deepencoder.py").write_text(source, encoding="utf-8")
    return tmp_path


def test_measured_by_published_names(tmp_path: Path) -> None:
    vision = load_published_vision(folder_with(tmp_path, STAND_IN), trust_remote_code=True)
    views, grid = 2, 2
    out = vision(vision.pixels(views, 128))
    assert (tuple(out.shape), out.device.type, str(out.dtype)) == (
        (views, grid**2, 1280),
        "meta",
        "torch.bfloat16",
    )
    count = measure_flops(vision, lambda: vision(vision.pixels(views, 128)))
    sam = 2 * views * grid**2 * 3 * 64 * 64 * 1024
    clip = 2 * views * (grid**2 + 1) * 1024 * 1024
    projector = 2 * views * grid**2 * 2048 * 1280
    assert {path: count.by_module[path] for path in ("sam_model", "sam_model.net_3")} == dict.fromkeys(
        ("sam_model", "sam_model.net_3"), sam
    )
    assert count.by_module["vision_model"] == clip
    assert count.by_module["projector.layers"] == projector
    assert count.total == sam + clip + projector
    assert (tmp_path / "was_executed").exists()


def test_the_class_token_is_dropped_and_the_map_comes_second() -> None:
    class Clip(nn.Module):
        def forward(self, pixels: torch.Tensor, sam_map: torch.Tensor) -> torch.Tensor:
            assert pixels is sam_map  # SAM is the identity here
            return torch.tensor([[[-1.0], [10.0], [20.0]]])  # class token, two patches

    vision = PublishedVision(nn.Identity(), Clip(), nn.Identity(), "float32")
    sam_map = torch.tensor([[[[1.0, 2.0]]]])  # 1 view, 1 channel, grid 1 by 2
    assert vision(sam_map).tolist() == [[[10.0, 1.0], [20.0, 2.0]]]


@pytest.mark.parametrize("consent", [False, None, "false", 1])
def test_nothing_is_executed_without_consent(tmp_path: Path, consent: object) -> None:
    with pytest.raises(ModelMeterError, match=r"runs the code in .*deepencoder\.py.*reference\.trust_remote_code=true"):
        load_published_vision(folder_with(tmp_path, STAND_IN), trust_remote_code=consent)  # type: ignore[arg-type]
    assert not (tmp_path / "was_executed").exists()


def test_missing_packages_are_all_named_before_anything_runs(tmp_path: Path) -> None:
    source = "import no_such_a.b\nfrom no_such_b import c\n" + STAND_IN
    with pytest.raises(
        ModelMeterError, match=r"imports no_such_a, no_such_b, not installed here; pip install no_such_a"
    ):
        load_published_vision(folder_with(tmp_path, source), trust_remote_code=True)
    assert not (tmp_path / "was_executed").exists()


REFUSED = {
    "syntax": ("def (", r"cannot be read as Python"),
    "fails": ("raise OSError('disk')", r"importing .* failed with OSError: disk"),
    "imports late": (
        "__import__('no_such_c')",
        r"failed with ModuleNotFoundError: No module named 'no_such_c'",
    ),
    "lacks": (
        "def build_clip_l(): ...",
        r"does not define build_sam_vit_b, MlpProjector; expected are build_sam_vit_b",
    ),
    "build fails": (
        STAND_IN.replace("return Sam()", "return Sam(1)"),
        r"building the modules of .* TypeError",
    ),
}


@pytest.mark.parametrize("source, message", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        load_published_vision(folder_with(tmp_path, source), trust_remote_code=True)


def test_a_missing_file_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=rf"no file .*deepencoder\.py; put deepencoder\.py .* into {tmp_path}"):
        load_published_vision(tmp_path, trust_remote_code=True)
