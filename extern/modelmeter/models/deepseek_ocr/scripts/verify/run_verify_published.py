"""execution=published against DeepSeek's own files, which a user puts into models/deepseek-ocr/.

    python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_published \
        reference.trust_remote_code=true runtime.attention=eager

SAM, CLIP and projector run on the meta device, the decoder on the CPU with random weights (its routing reads values),
in eager attention: FLOPs, traffic and peak, analytic and measured. The decoder's files need the transformers version
that they were written for; where they cannot be imported, the message names it.
The routing of random weights decides how many experts are hit; where that is not what `runtime.experts_hit` declares,
traffic differs by their weights, and the row says so.
Exit status 0: every difference is within `tolerance`; 1: one is not; 2: nothing could be verified.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.cost_model import CostModel
from modelmeter.models.deepseek_ocr.schema import resolve
from modelmeter.models.deepseek_ocr.scripts.program import AGREES, DISAGREES, console, run
from modelmeter.models.deepseek_ocr.scripts.verify.comparison import Compared
from modelmeter.reference.measurement import Measurement, measure
from modelmeter.reference.published import load_published_vision
from modelmeter.reference.published_decoder import load_published_decoder
from modelmeter.walk import Walk

#: the keys of this program beside the cost model's
OWN_KEYS = {
    "tokens": 0,
    "views": [],
    "tolerance": 0,
    "reference": {"name": "", "folder": "", "trust_remote_code": False},
}

Rows = list[tuple[str, str, dict[str, Compared], tuple[str, str]]]


def compared(walk: Walk, measured: Measurement) -> dict[str, Compared]:
    """The figures of one part."""
    return {
        "tensor-core FLOPs": Compared(walk.tensor_core_flops, measured.flops),
        "bytes moved": Compared(walk.bytes_read + walk.bytes_written, measured.io_bytes),
        "activation peak, bytes": Compared(walk.peak_bytes, measured.activation_peak_bytes),
    }


def vision_rows(model: CostModel, reference: dict[str, Any], views: list[list[int]]) -> Rows:
    """SAM, CLIP and projector."""
    runtime = model.config.runtime
    modules = load_published_vision(Path(reference["folder"]), reference["trust_remote_code"], runtime.dtype)
    rows: Rows = []
    for count, side in views:
        pixels, sam_map = modules.pixels(count, side), modules.sam_map(count, side)
        calls = {
            "image_encoder_vit": (modules.sam, partial(modules.sam, pixels)),
            "vit_model": (modules.clip, partial(modules.clip, pixels, sam_map)),
        }
        for part, (module, call) in calls.items():
            walk = model.part(part, batch_size=count, img_size=side).walk()
            measured = measure(module, call)
            operators = (walk.peak_operator, measured.peak_operator)
            rows.append((part, f"{count} x {side}", compared(walk, measured), operators))
    return rows


def decoder_rows(model: CostModel, reference: dict[str, Any], tokens: int) -> Rows:
    """The decoder's prefill, and the step after it."""
    runtime = model.config.runtime
    if runtime.attention != "eager":
        raise ModelMeterError(
            "verify: FlashAttention 2 cannot run here, so the published decoder is measured with "
            "runtime.attention=eager; say so."
        )
    sizes = {name: value for name, value in vars(model.config.decoder).items() if name != "max_position_embeddings"}
    folder = Path(reference["folder"])
    decoder = load_published_decoder(folder, reference["trust_remote_code"], runtime.dtype, **sizes)
    prefill, cache = decoder.run(tokens)
    step, _ = decoder.run(1, cache)
    walk = model.model.decoder_walk(1, tokens, model.experts_hit(tokens))
    step_walk, _ = model.model.decoder_step_walk(1, tokens, model.experts_hit(1))
    return [
        ("decoder prefill", str(tokens), compared(walk, prefill), (walk.peak_operator, prefill.peak_operator)),
        ("decoder step", f"1 after {tokens}", compared(step_walk, step), (step_walk.peak_operator, step.peak_operator)),
    ]


def verify(config: DictConfig) -> int:
    """Verify every part and print the table; the exit status."""
    model = CostModel(resolve(config))
    if model.config.execution.name != "published":
        raise ModelMeterError(
            f"verify: the published files are not what execution={model.config.execution.name} models; "
            "leave execution=published."
        )
    plain: Any = OmegaConf.to_container(config, resolve=True)
    rows = vision_rows(model, plain["reference"], plain["views"])
    rows += decoder_rows(model, plain["reference"], plain["tokens"])
    table = Table(title="execution=published, without autocast, against the published files", title_justify="left")
    for column in ("part", "size", "figure", "analytic", "measured", "difference", ""):
        table.add_column(column, justify="right" if column in ("analytic", "measured", "difference") else "left")
    agrees = True
    for part, size, figures, operators in rows:
        for name, figure in figures.items():
            good = figure.agrees(config.tolerance)
            agrees &= good
            table.add_row(
                part,
                size,
                name,
                f"{figure.analytic:,}",
                f"{figure.measured:,}",
                f"{figure.difference:,}",
                "ok" if good else "[bold red]differs[/]",
            )
        same = operators[0] == operators[1] or config.tolerance > 0
        agrees &= same
        table.add_row(part, size, "operator at the peak", *operators, "", "ok" if same else "[bold red]differs[/]")
        table.add_section()
    console().print(table)
    return AGREES if agrees else DISAGREES


if __name__ == "__main__":
    run("verify_published", OWN_KEYS, verify)
