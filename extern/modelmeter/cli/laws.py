"""`modelmeter laws`: a model's costs as polynomials with their conditions, for another program to evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

from modelmeter.cli.arguments import (
    complete_device,
    complete_input,
    debug_option,
    engine_option,
    model_option,
    read_arguments,
    with_engine,
)
from modelmeter.cli.output import rendered, write, write_document
from modelmeter.errors import ModelMeterError
from modelmeter.files import check_output, encodable, is_standard_output, write_whole
from modelmeter.models import model_package

#: the device of the times where none is named
DEFAULT_DEVICE: Final = "H100-SXM"
#: pages of a prefill at once that laws are written for, unless told
DEFAULT_BATCHES: Final = (1, 2, 4)


@click.command(short_help="The costs as polynomials, for other programs.")
@click.argument("arguments", nargs=-1, type=click.Path(), metavar="[KEY=VALUE]...", shell_complete=complete_input)
@click.option(
    "-o", "--output", type=click.Path(), default="-", metavar="FILE", help="File to write.  [default: standard output]"
)
@click.option(
    "--device",
    "names",
    multiple=True,
    metavar="DEVICE",
    shell_complete=complete_device,
    help="A device whose constants go with them, or the path of a YAML file of your own; may be repeated.  "
    f"[default: {DEFAULT_DEVICE}]",
)
@engine_option("vllm")
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(1, 1024),
    multiple=True,
    metavar="N",
    help="Pages of one prefill for which it has laws; may be repeated. Decode steps have them for any number.  "
    "[default: 1, 2, 4]",
)
@click.option(
    "--vectors",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    metavar="N",
    help="Pages with every figure that a program which evaluates the laws must give.",
)
@model_option
@debug_option
def command(
    arguments: tuple[str, ...],
    output: str,
    names: tuple[str, ...],
    engine: str | None,
    batches: tuple[int, ...],
    vectors: int,
    model: str | None,
) -> None:
    """Write the laws of a model as JSON.

    They are the polynomials of every figure of every stage with the conditions under which they hold, the kernels of
    each stage with the sizes that their times are computed from, the rule that makes tokens of a page's sides, and the
    constants of devices and engine. docs/laws-format.md describes the file. KEY=VALUE overrides the configuration, as
    in workload=base.
    """
    from modelmeter.devices import load_device
    from modelmeter.laws.document import LawsFile
    from modelmeter.laws.vectors import vectors as vectors_of
    from modelmeter.models.common.engines import served

    model, files, overrides = read_arguments(model, arguments)
    if files:
        raise ModelMeterError(f"laws: {files[0]} is no KEY=VALUE; laws are those of pages of every size.")
    path = None if output == "-" or is_standard_output(Path(output)) else Path(output)
    if path is not None:
        check_output("laws", path, [name for name in names if name.endswith((".yaml", ".yml"))])
    package = model_package(model)
    cost_model: Any = package.load_cost_model(served(with_engine("laws", engine, overrides), package.EXECUTIONS))
    devices = [load_device(name) for name in names or (DEFAULT_DEVICE,)]
    numbers = batches or DEFAULT_BATCHES
    file = LawsFile(devices, batches=numbers)
    file.add(cost_model)
    content = file.to_dict()
    content["vectors"] = vectors_of(content, cost_model, devices, number=vectors)
    (laws,) = content["laws"]
    text = f"{json.dumps(content, separators=(',', ':'), allow_nan=False)}\n"
    if path is None:
        write_document(text)
        return
    written = encodable(text).encode()
    write_whole(path, written)
    number = sum(len(family["cases"]) for family in (*laws["figures"], *laws["kernels"]))
    write(rendered(f"{path}: {number:,} laws of {model}, {len(content['vectors']):,} vectors, {len(written):,} bytes"))
