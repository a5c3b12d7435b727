"""One branch of a page, the global view or the crops, run on a reference part by part: SAM, CLIP, projector."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modelmeter.errors import ModelMeterError, near
from modelmeter.models.common.reference.deep_encoder_names import place, published_path, transformers_paths
from modelmeter.models.deepseek_ocr.reference.architecture import ARCHITECTURE
from modelmeter.models.deepseek_ocr.reference.modules import VisionReference
from modelmeter.models.deepseek_ocr.reference.published import PublishedVision, load_published_vision
from modelmeter.models.deepseek_ocr.reference.replica_page import replica_path
from modelmeter.reference.measurement import Measurement, measure

SOURCES = ("transformers", "published")


@dataclass(frozen=True, kw_only=True)
class BranchMeasurement:
    """SAM, CLIP and the projector by their published names: what each did, alone, and the shape that it gave.

    Each is called on what the one before it gave; its input is outside and uncounted.
    """

    source: str
    parts: Mapping[str, Measurement]
    shapes: Mapping[str, tuple[int, ...]]

    def flops_of(self, published_path: str) -> int:
        """Measured FLOPs of a module, named as in the checkpoint."""
        flops = self.parts[published_path.partition(".")[0]].flops_by_module
        paths = (published_path,) if self.source == "published" else transformers_paths(published_path)
        missing = [path for path in paths if path not in flops]
        if missing:
            raise ModelMeterError(f"reference={self.source}: the measured model has no module {', '.join(missing)}.")
        return sum(flops[path] for path in paths)

    def peak_place(self, part: str, branch: str) -> str:
        """Where a part reaches its peak, as in the cost model's walks of this branch."""
        measured = self.parts[part]
        path = measured.peak_path
        return place(replica_path(path) if self.source == "published" else published_path(path), 0, (branch,))


def vision_reference(
    source: str,
    *,
    folder: str,
    trust_remote_code: bool,
    dtype: str,
    attention: str,
    hidden_size: int = ARCHITECTURE["hidden_size"],
) -> VisionReference | PublishedVision:
    """The vision modules to measure, on the meta device; the projector gives `hidden_size` features."""
    if source == "transformers":
        return VisionReference(dtype=dtype, attention=attention, hidden_size=hidden_size)
    if source == "published":
        if hidden_size != ARCHITECTURE["hidden_size"]:
            raise ModelMeterError(
                f"reference=published: its projector gives {ARCHITECTURE['hidden_size']} features, and "
                f"decoder.hidden_size is {hidden_size}; leave that as it is, or measure with reference=transformers."
            )
        return load_published_vision(Path(folder), trust_remote_code, dtype)
    raise ModelMeterError(f"reference={source} is unknown; {near(source, SOURCES)}")


def measure_branch(reference: VisionReference | PublishedVision, views: int, side: int) -> BranchMeasurement:
    """Run `views` views of `side` pixels through SAM, CLIP and the projector, and measure each."""
    published = isinstance(reference, PublishedVision)
    parts: dict[str, Measurement] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def run(name: str, module: nn.Module, *arguments: Tensor) -> Tensor:
        given: list[Tensor] = []

        def call() -> None:
            output: Any = module(*arguments)
            given.append(getattr(output, "last_hidden_state", output))

        path = name if published else transformers_paths(name)[0]
        parts[name] = measure({path: module}, call)
        shapes[name] = tuple(given[0].shape)
        return given[0]

    pixels = reference.pixels(views, side)
    sam_map = run("sam_model", reference.sam, pixels)
    clip_arguments = (pixels, sam_map) if published else (sam_map,)
    tokens = run("vision_model", reference.clip, *clip_arguments)
    features = torch.cat((tokens[:, 1:], sam_map.flatten(2).transpose(1, 2)), dim=-1)
    run("projector", reference.projector, features)
    return BranchMeasurement(source="published" if published else "transformers", parts=parts, shapes=shapes)
