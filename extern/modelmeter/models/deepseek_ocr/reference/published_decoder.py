"""The published decoder, from a local copy that the user put there and agreed to run.

`modeling_deepseekv2.py` must define `DeepseekV2Model`, and `configuration_deepseek_v2.py` `DeepseekV2Config`; both are
imported as a package of their own, from that folder alone. Its routing reads values, so it runs on real tensors on
the CPU, with random weights: eager attention, since the FlashAttention package needs a GPU. The file was written for
an older transformers; where it cannot be imported with the one at hand, the error names the one in its config.json.

    decoder = load_published_decoder(Path("models/deepseek-ocr"), trust_remote_code=True)
    measured, cache = decoder.run(tokens=913)
    measured, cache = decoder.run(tokens=1, cache=cache)
"""

import importlib
import importlib.machinery
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import DynamicCache

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.reference.published import check_packages
from modelmeter.reference.building import DTYPES, built_on, cache_tensors
from modelmeter.reference.measurement import Measurement, measure

PACKAGE = "modelmeter_published"
FILES = ("config.json", "configuration_deepseek_v2.py", "modeling_deepseekv2.py")

#: standard deviation of the random weights: small enough that nothing overflows on the way through the layers
WEIGHT_SPREAD = 0.02

#: of the random weights and embeddings, so that a run can be repeated: which experts are hit depends on them
SEED = 0

#: where a name could not be imported from, at the end of what Python says; the path of a routed expert
PLACE = re.compile(r" \([^()]*\)$")
EXPERT = re.compile(r"layers\.\d+\.mlp\.experts\.\d+")


class PublishedDecoder:
    """The published decoder on the CPU, in inference, without embedding and head, with random weights."""

    def __init__(self, model: Any, dtype: torch.dtype, generator: torch.Generator, written_for: str) -> None:
        self.model = model
        self.dtype = dtype
        self.generator = generator
        self.written_for = written_for

    def run(self, tokens: int, cache: Any = None) -> tuple[Measurement, Any]:
        """One pass over `tokens` random embeddings and a cache, a new one when not given; and the cache after it."""
        held = DynamicCache() if cache is None else cache
        width = self.model.config.hidden_size
        embeddings = torch.randn(1, tokens, width, generator=self.generator).to(self.dtype)

        def call() -> None:
            self.model(inputs_embeds=embeddings, past_key_values=held, use_cache=True)

        try:
            return measure(self.model, call, cached=lambda: cache_tensors(held), device="cpu"), held
        except ModelMeterError:
            raise
        except Exception as error:  # the file's own code, under a version that it was not written for
            raise ModelMeterError(
                f"reference=published: running DeepseekV2Model failed with {_reason(error)}; {self.written_for}"
            ) from error


def experts_hit(measured: Measurement) -> int:
    """Routed experts that had tokens in a pass, over all layers."""
    return sum(bool(EXPERT.fullmatch(path) and flops) for path, flops in measured.flops_by_module.items())


def load_published_decoder(
    folder: Path,
    trust_remote_code: bool,
    dtype: str = "bfloat16",
    *,
    say: Callable[[str], None] = lambda _line: None,
    **architecture: int,
) -> PublishedDecoder:
    """Build `DeepseekV2Model` from `folder`, with consent; `architecture` replaces values of its configuration.

    `say` is told what takes long before it begins: the random weights are drawn one by one.
    Without `trust_remote_code` nothing in the folder is executed, and ModelMeterError says what to do.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ModelMeterError(
            f"reference=published: {folder} lacks {', '.join(missing)}; put them there from the published model's "
            "repository, or measure with the replica (run_verify_end2end execution=published)."
        )
    if trust_remote_code is not True:
        raise ModelMeterError(
            f"reference=published runs the code in {folder}, which is not part of this library; read it, and if you "
            "trust it say reference.trust_remote_code=true."
        )
    values = _config_values(folder)
    configuration, modeling = (_import(folder, name, values) for name in FILES[1:])
    try:
        language = values.get("language_config", values)
        config = configuration.DeepseekV2Config(**{**language, **architecture}, attn_implementation="eager")
        config._attn_implementation = "eager"
        with built_on("meta", dtype):
            model = modeling.DeepseekV2Model(config)
        drawn = [parameter for parameter in model.parameters() if parameter.dim() > 1]
        say(
            f"drawing {sum(each.numel() for each in drawn):,} random weights for the decoder "
            f"({sum(each.nbytes for each in drawn) / 1e9:.1f} GB of memory); then its pass on the CPU: minutes at full "
            "size"
        )
        with built_on("cpu", dtype):
            model = model.to_empty(device="cpu").eval()
        generator = torch.Generator().manual_seed(SEED)
        _fill(model, generator)
    except Exception as error:
        raise ModelMeterError(
            f"reference=published: building DeepseekV2Model from {folder} failed with {_reason(error)}; "
            f"{_written_for(values)}"
        ) from error
    return PublishedDecoder(model, DTYPES[dtype], generator, _written_for(values))


def _fill(model: nn.Module, generator: torch.Generator) -> None:
    """Random weights, norms of one, and rotary frequencies, which the meta device did not keep."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, WEIGHT_SPREAD, generator=generator)
            else:
                parameter.fill_(1.0)
        for name, buffer in model.named_buffers():
            if name.endswith("inv_freq"):
                places = torch.arange(buffer.numel(), dtype=torch.float32) / buffer.numel()
                buffer.copy_(10_000.0**-places)


def _config_values(folder: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelMeterError(f"reference=published: {folder / 'config.json'} cannot be read: {error}") from error
    return values


def _written_for(values: dict[str, Any]) -> str:
    import transformers

    wanted = values.get("transformers_version", "an older version, which config.json does not name")
    return (
        f"it was written for transformers {wanted}, and {transformers.__version__} is installed: run make "
        "published-check, which sets up an environment with that version, or measure the replica (run_verify_end2end "
        "execution=published)."
    )


def _reason(error: Exception) -> str:
    """The kind of an error and the first line of its message, without the path of the module that lacks a name."""
    said = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {PLACE.sub('', said)}"


def _import(folder: Path, file: str, values: dict[str, Any]) -> ModuleType:
    """One file of the folder as a module of a package that holds nothing else."""
    check_packages(folder / file)
    if PACKAGE not in sys.modules or list(sys.modules[PACKAGE].__path__) != [str(folder)]:
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            del sys.modules[name]
        package = ModuleType(PACKAGE)
        package.__path__ = [str(folder)]
        package.__spec__ = importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
        sys.modules[PACKAGE] = package
    try:
        return importlib.import_module(f"{PACKAGE}.{Path(file).stem}")
    except Exception as error:
        raise ModelMeterError(
            f"reference=published: importing {folder / file} failed with {_reason(error)}; {_written_for(values)}"
        ) from error
