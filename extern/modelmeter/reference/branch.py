"""One branch of a page, the global view or the crops, run on a reference: FLOPs by module, and output shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelmeter.errors import ModelMeterError, near
from modelmeter.reference.flops import measure_flops
from modelmeter.reference.modules import VisionReference, transformers_paths
from modelmeter.reference.published import PublishedVision, load_published_vision

SOURCES = ("transformers", "published")


@dataclass(frozen=True, kw_only=True)
class BranchMeasurement:
    """FLOPs by published module path, and the shapes that SAM, CLIP and the projector gave."""

    flops: Mapping[str, int]
    source: str
    shapes: Mapping[str, tuple[int, ...]]

    def flops_of(self, published_path: str) -> int:
        """Measured FLOPs of a module, named as in the checkpoint."""
        paths = (published_path,) if self.source == "published" else transformers_paths(published_path)
        missing = [path for path in paths if path not in self.flops]
        if missing:
            raise ModelMeterError(f"reference={self.source}: the measured model has no module {', '.join(missing)}.")
        return sum(self.flops[path] for path in paths)


def vision_reference(
    source: str, *, folder: str, trust_remote_code: bool, dtype: str, attention: str
) -> VisionReference | PublishedVision:
    """The vision modules to measure, on the meta device."""
    if source == "transformers":
        return VisionReference(dtype=dtype, attention=attention)
    if source == "published":
        return load_published_vision(Path(folder), trust_remote_code, dtype)
    raise ModelMeterError(f"reference={source} is unknown; {near(source, SOURCES)}")


def measure_branch(reference: VisionReference | PublishedVision, views: int, side: int) -> BranchMeasurement:
    """Run `views` views of `side` pixels through SAM, CLIP and the projector, and measure."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(_module: object, _args: object, output: Any) -> None:
            shapes[name] = tuple(getattr(output, "last_hidden_state", output).shape)

        return hook

    parts = {"sam_model": reference.sam, "vision_model": reference.clip, "projector": reference.projector}
    hooks = [module.register_forward_hook(note(name)) for name, module in parts.items()]
    try:
        count = measure_flops(reference, lambda: reference(reference.pixels(views, side)))
    finally:
        for hook in hooks:
            hook.remove()
    source = "published" if isinstance(reference, PublishedVision) else "transformers"
    return BranchMeasurement(flops=count.by_module, source=source, shapes=shapes)
