"""`modelmeter judge`: a device's constants of kernels against tables of measured ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelmeter.cli.arguments import debug_option, json_option
from modelmeter.cli.measuring import check_tables_installed
from modelmeter.cli.output import rendered, write

if TYPE_CHECKING:
    from modelmeter.calibration.kernel_judgement import Judgement


@click.command(short_help="How far predicted times of kernels are from measured ones.")
@click.argument("tables", type=click.Path(path_type=Path), metavar="TABLES")
@click.option("--device", "name", required=True, metavar="DEVICE", help="The device of the tables: a name, or a file.")
@click.option(
    "--split",
    type=click.Choice(["all", "held-out"]),
    default="all",
    show_default=True,
    help="Judge every row, or only those of sites that calibrate --from leaves out.",
)
@click.option("--by", type=click.Choice(["file"]), help="Judge each file of a folder for itself.")
@click.option(
    "--leave-out",
    metavar="DEVICE",
    help="Judge what would be carried over if this device had not been fitted, instead of the device's own.",
)
@json_option
@debug_option
def command(tables: Path, name: str, split: str, by: str | None, leave_out: str | None, as_json: bool) -> None:
    """Hold the constants of a device's kernels against measured times of kernels.

    TABLES is a Parquet file in aiconfigurator's layout, or a folder of files named OP.ENGINE-VERSION.parquet; OP is
    gemm, moe, context_attention, encoder_attention or generation_attention. Or it is a profile of LLMServingSim or
    Vidur, or a folder of them, or a table of make gpu (kernels.parquet). Rows in bfloat16 are judged; the others are
    counted, with the reason. docs/calibration.md says which rows, and what the errors mean.
    """
    check_tables_installed("judge")

    from modelmeter.calibration.kernel_judgement import carried_constants, constants_of, judge
    from modelmeter.calibration.kernel_tables import read_tables
    from modelmeter.devices import bundled_devices, load_device

    device = load_device(name)
    if leave_out is None:
        constants = constants_of(device)
    else:
        constants = dict(carried_constants(device, bundled_devices(), load_device(leave_out).name))
    found = read_tables(tables)
    chosen = {"held_out_only": split == "held-out"}
    judgement = judge(found, device, constants, **chosen)
    files = {each.file: judge([each], device, constants, may_be_empty=True, **chosen) for each in found} if by else {}
    if as_json:
        from modelmeter.report.json_document import json_text

        content = _content(judgement) | {"split": split, "left_out_device": leave_out}
        if by:
            content["files"] = {file: _content(each) for file, each in files.items()}
        write(json_text("judge", content))
        return
    from rich.text import Text

    parts: list[Any] = []
    for title, each in (files or {"": judgement}).items():
        parts += [*([title] if title else []), _table(each), *_left_out(each), ""]
    basis = "its own constants" if leave_out is None else f"constants carried over from devices other than {leave_out}"
    errors = "errors are of predicted / measured - 1; total: of all times together"
    parts.append(Text(f"{device.name}, {basis}; {errors}"))
    write(rendered(*parts))


def _content(judgement: Judgement) -> dict[str, Any]:
    return {
        "device": judgement.device,
        "classes": {name: vars(verdict) for name, verdict in judgement.classes.items()},
        "left_out": dict(judgement.left_out),
    }


def _table(judgement: Judgement) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("class", no_wrap=True)
    for heading in ("rows", "median", "p90", "total", "roofline"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, each in judgement.classes.items():
        shares = (f"{each.median:.1%}", f"{each.p90:.1%}", f"{each.total:+.1%}", f"{each.roofline_median:.1%}")
        table.add_row(name, f"{each.rows:,}", *shares)
    return table


def _left_out(judgement: Judgement) -> list[str]:
    return [f"left out: {count:,} rows, {reason}" for reason, count in judgement.left_out.items()]
