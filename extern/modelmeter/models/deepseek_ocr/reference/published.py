"""The published vision code, from a local copy that the user put there and agreed to run.

Nothing is downloaded, and nothing in the folder is executed without consent. `deepencoder.py` must offer
`build_sam_vit_b()`, `build_clip_l()` and `MlpProjector(cfg)`; it is read as text first, so that every package
that it imports and that is missing is named at once.

    vision = load_published_vision(Path("models/deepseek-ocr"), trust_remote_code=True)
    measure_flops(vision, lambda: vision(vision.pixels(1, 1024)))   # paths are the published names
"""

import ast
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from modelmeter.errors import ModelMeterError
from modelmeter.reference.building import DTYPES, on_meta

FILE = "deepencoder.py"
BUILDERS = ("build_sam_vit_b", "build_clip_l", "MlpProjector")
MODULE_NAME = "modelmeter_published_deepencoder"


class ProjectorConfig:
    """What `MlpProjector` asks of its configuration: attributes, and `.get` with a default."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        return self._values.get(key, default)


PROJECTOR: Mapping[str, Any] = {"projector_type": "linear", "input_dim": 2048, "n_embed": 1280}
"""The projector as published."""


class PublishedVision(nn.Module):  # type: ignore[misc]
    """The published SAM, CLIP and projector on the meta device, in inference, in the published call order.

    pixels [V, 3, s, s] -> [V, g * g, 1280], with g = ceil(s / 64) for V views of s pixels a side.
    Without autocast, unlike the published `infer()` on a GPU: its traffic and peaks differ under autocast.
    """

    def __init__(self, sam_model: nn.Module, vision_model: nn.Module, projector: nn.Module, dtype: str) -> None:
        super().__init__()
        self.sam_model = sam_model
        self.vision_model = vision_model
        self.projector = projector
        self.dtype = DTYPES[dtype]
        self.eval()

    @property
    def sam(self) -> nn.Module:
        """The SAM encoder: pixels [V, 3, s, s] -> [V, 1024, g, g]."""
        return self.sam_model

    @property
    def clip(self) -> nn.Module:
        """The CLIP tower, called with (pixels, SAM's map) -> [V, g * g + 1, 1024]."""
        return self.vision_model

    def pixels(self, views: int, side: int) -> Tensor:
        """Pixel values of `views` square views of `side` pixels, on the meta device."""
        return torch.empty(views, 3, side, side, dtype=self.dtype, device="meta")

    def sam_map(self, views: int, side: int) -> Tensor:
        """What SAM makes of such views, as an input for CLIP alone, on the meta device."""
        grid = -(-side // 64)
        return torch.empty(views, 1024, grid, grid, dtype=self.dtype, device="meta")

    def features(self, views: int, side: int) -> Tensor:
        """What both make of such views, side by side, as an input for the projector alone, on the meta device."""
        return torch.empty(views, (-(-side // 64)) ** 2, 2048, dtype=self.dtype, device="meta")

    def forward(self, pixel_values: Tensor) -> Tensor:
        """SAM, CLIP on SAM's map, both side by side, projector: one branch of a page."""
        sam_map = self.sam_model(pixel_values)
        clip_tokens = self.vision_model(pixel_values, sam_map)
        features = torch.cat((clip_tokens[:, 1:], sam_map.flatten(2).permute(0, 2, 1)), dim=-1)
        return self.projector(features)


def missing_packages(source: str) -> list[str]:
    """Packages that importing a Python source needs (outside of `try` and functions), not installed."""
    imported: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module)
    packages = {name.partition(".")[0] for name in imported}
    return sorted(name for name in packages if name not in sys.modules and importlib.util.find_spec(name) is None)


def check_packages(path: Path) -> None:
    """Raise `ModelMeterError` for a file that is no Python, or that imports packages that are not installed."""
    try:
        missing = missing_packages(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ModelMeterError(f"reference=published: {path} cannot be read as Python: {error}") from error
    if missing:
        raise ModelMeterError(
            f"reference=published: {path} imports {', '.join(missing)}, not installed here; "
            f"pip install {' '.join(missing)}, or measure with reference=transformers."
        )


def _import_file(path: Path) -> ModuleType:
    check_packages(path)
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise ModelMeterError(f"reference=published: {path} cannot be imported: Python has no loader for it.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module  # dataclasses and pickling look a class's module up by its name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[MODULE_NAME]
        raise ModelMeterError(
            f"reference=published: importing {path} failed with {type(error).__name__}: {error}"
        ) from error
    return module


def load_published_vision(
    folder: Path, trust_remote_code: bool, dtype: str = "bfloat16", projector: Mapping[str, Any] = PROJECTOR
) -> PublishedVision:
    """Build the published vision modules from `folder/deepencoder.py` on the meta device, with consent.

    `projector` is what its `MlpProjector` is configured with.
    Without `trust_remote_code` nothing in the folder is executed, and ModelMeterError says what to do.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise ModelMeterError(
            f"reference=published: no file {path}; put {FILE} of the published model's repository into "
            f"{folder}, or measure with reference=transformers."
        )
    if trust_remote_code is not True:
        raise ModelMeterError(
            f"reference=published runs the code in {path}, which is not part of this library; read it, "
            "and if you trust it say reference.trust_remote_code=true."
        )
    module = _import_file(path)
    lacking = [name for name in BUILDERS if not hasattr(module, name)]
    if lacking:
        raise ModelMeterError(
            f"reference=published: {path} does not define {', '.join(lacking)}; expected are {', '.join(BUILDERS)}."
        )
    try:
        with on_meta(dtype):
            sam, clip = module.build_sam_vit_b(), module.build_clip_l()
            last = module.MlpProjector(ProjectorConfig(**projector))
    except ModelMeterError:
        raise
    except Exception as error:
        raise ModelMeterError(
            f"reference=published: building the modules of {path} failed with {type(error).__name__}: {error}"
        ) from error
    return PublishedVision(sam, clip, last, dtype)
