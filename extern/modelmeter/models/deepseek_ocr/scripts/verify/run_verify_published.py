"""execution=published against DeepSeek's own files, which a user puts into models/deepseek-ocr/.

    python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_published \
        reference.trust_remote_code=true runtime.attention=eager

SAM, CLIP and projector run on the meta device, the decoder on the CPU with random weights (its routing reads values),
in eager attention: FLOPs, traffic and peak, analytic and measured. The decoder's files need the transformers version
that they were written for, which `make published-check` sets up; with another one the rows of the vision part are
printed, and one line says why the decoder could not be imported.
The routing of random weights decides how many experts are hit: traffic is that of the experts which were.
Exit status 0: every difference is within `tolerance`; 1: one is not; 2: the decoder, or all, could not be verified.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from rich.markup import escape
from rich.table import Table

from modelmeter.errors import ModelMeterError
from modelmeter.layers.decoder.mlp import GatedMLP
from modelmeter.models.common.contract import ModelPackage
from modelmeter.models.deepseek_ocr.config import CONFIGURATION
from modelmeter.models.deepseek_ocr.cost_model import CostModel
from modelmeter.models.deepseek_ocr.reference.published import load_published_vision
from modelmeter.models.deepseek_ocr.reference.published_decoder import experts_hit, load_published_decoder
from modelmeter.programs.hydra_program import AGREES, DISAGREES, console, run
from modelmeter.reference.comparison import Compared
from modelmeter.reference.measurement import Measurement, measure
from modelmeter.walk import Walk

#: the keys of this program beside the cost model's
OWN_KEYS = {
    "tokens": 0,
    "views": [],
    "tolerance": 0,
    "reference": {"name": "", "folder": "", "trust_remote_code": False},
}


class PartRow(NamedTuple):
    """One part at one size: its figures, and the operators at its peak, analytic and measured."""

    part: str
    size: str
    figures: dict[str, Compared]
    operators: tuple[str, str]
    note: str = ""

    def same_operator(self, tolerance: float) -> bool:
        """Whether both reach the peak at the same operator; a tolerance lets it differ, as it lets the peaks."""
        return self.operators[0] == self.operators[1] or tolerance > 0

    def peak_line(self, tolerance: float) -> str:
        """Where the peak is."""
        analytic, measured = self.operators
        same = "ok" if self.same_operator(tolerance) else "differs"
        return f"{self.part} {self.size}: peak at {analytic}, measured at {measured}: {same}"


def part_row(
    part: str, size: str, walk: Walk, measured: Measurement, *, more_weight_bytes: int = 0, note: str = ""
) -> PartRow:
    """A part's walk and its measurement; more_weight_bytes: read beside what the walk reads."""
    io_bytes = walk.bytes_read + walk.bytes_written + more_weight_bytes
    figures = {
        "tensor-core FLOPs": Compared(walk.tensor_core_flops, measured.flops),
        "bytes moved": Compared(io_bytes, measured.io_bytes),
        "activation peak, bytes": Compared(walk.peak_bytes, measured.activation_peak_bytes),
    }
    return PartRow(part, size, figures, (walk.peak_operator, measured.peak_operator), note)


def vision_rows(model: CostModel, reference: dict[str, Any], views: list[list[int]]) -> list[PartRow]:
    """SAM, CLIP and projector."""
    projector = vars(model.config.vision.projector)
    folder, consent = Path(reference["folder"]), reference["trust_remote_code"]
    modules = load_published_vision(folder, consent, model.config.runtime.dtype, projector)
    rows: list[PartRow] = []
    for count, side in views:
        pixels, sam_map = modules.pixels(count, side), modules.sam_map(count, side)
        features = modules.features(count, side)
        of_views: dict[str, int] = {"batch_size": count, "img_size": side}
        for part, size, module, arguments in (
            ("image_encoder_vit", of_views, modules.sam, (pixels,)),
            ("vit_model", of_views, modules.clip, (pixels, sam_map)),
            ("mlp_projector", {"batch_size": count, "num_tokens": features.shape[1]}, modules.projector, (features,)),
        ):
            measured = measure(module, partial(module, *arguments))
            rows.append(part_row(part, f"{count} x {side}", model.part(part, **size).walk(), measured))
    return rows


def check_attention(model: CostModel) -> None:
    """Refuse the attention that the decoder cannot be measured with."""
    if model.config.runtime.attention != "eager":
        raise ModelMeterError(
            "verify: FlashAttention 2 cannot run here, so the published decoder is measured with "
            "runtime.attention=eager; say so."
        )


def decoder_rows(model: CostModel, reference: dict[str, Any], tokens: int) -> list[PartRow]:
    """The decoder's prefill, and the step after it."""
    check_attention(model)
    sizes = {name: value for name, value in vars(model.config.decoder).items() if name != "max_position_embeddings"}
    folder, consent = Path(reference["folder"]), reference["trust_remote_code"]
    decoder = load_published_decoder(folder, consent, model.config.runtime.dtype, say=_say, **sizes)
    prefill, cache = decoder.run(tokens)
    step, _ = decoder.run(1, cache)
    most = [min(sizes["n_routed_experts"], sizes["num_experts_per_tok"] * each) for each in (tokens, 1)]
    walks = model.model.decoder_walk(1, tokens, most[0]), model.model.decoder_step_walk(1, tokens, most[1])[0]
    expert = GatedMLP(sizes["hidden_size"], sizes["moe_intermediate_size"], code=model.code)
    layers = sizes["num_hidden_layers"] - sizes["first_k_dense_replace"]
    rows = []
    for (part, size), walk, measured, hit_at_most in zip(
        (("decoder prefill", f"{tokens}"), ("decoder step", f"1 after {tokens}")),
        walks,
        (prefill, step),
        most,
        strict=True,
    ):
        hit, of = experts_hit(measured), layers * hit_at_most
        note = (
            f"{part} {size}: {hit:,} experts hit, of {of:,} that the tokens can hit in {layers} layers; those are read"
        )
        more = (hit - of) * expert.forward_memory_weight()
        rows.append(part_row(part, size, walk, measured, more_weight_bytes=more, note=note))
    return rows


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def verify(_: ModelPackage, config: DictConfig) -> int:
    """Verify every part and print the table; the exit status. What keeps the decoder from it is raised after that."""
    model = CostModel(CONFIGURATION.resolve(config))
    if model.config.execution.name != "published":
        raise ModelMeterError(
            f"verify: the published files are not what execution={model.config.execution.name} models; "
            "leave execution=published."
        )
    check_attention(model)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    rows = vision_rows(model, plain["reference"], plain["views"])
    refusal = None
    try:
        rows += decoder_rows(model, plain["reference"], plain["tokens"])
    except ModelMeterError as error:
        refusal = error
    agrees = print_rows(rows, config.tolerance)
    if refusal is not None:
        raise refusal
    return AGREES if agrees else DISAGREES


def print_rows(rows: list[PartRow], tolerance: float) -> bool:
    """The table of figures, and the operators at the peaks below it; whether everything agrees."""
    table = Table(title="execution=published, without autocast, against the published files", title_justify="left")
    for column in ("part", "size", "figure", "analytic", "measured", "difference", ""):
        right = column in ("analytic", "measured", "difference")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    agrees = True
    for row in rows:
        for name, figure in row.figures.items():
            good = figure.agrees(tolerance)
            agrees &= good
            numbers = (f"{figure.analytic:,}", f"{figure.measured:,}", f"{figure.difference:,}")
            table.add_row(row.part, row.size, name, *numbers, "ok" if good else "[bold red]differs[/]")
        agrees &= row.same_operator(tolerance)
        table.add_section()
    out = console()
    out.print(table)
    for line in (*(row.peak_line(tolerance) for row in rows), *(row.note for row in rows if row.note)):
        out.print(escape(line), soft_wrap=True, highlight=False)
    return agrees


if __name__ == "__main__":
    run("verify_published", OWN_KEYS, verify, model="deepseek_ocr")
