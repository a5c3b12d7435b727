"""What the subcommands that take times share: the device at hand, repetitions, one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Final, TypeVar

import click

from modelmeter.cli.arguments import read_inputs
from modelmeter.errors import ModelMeterError
from modelmeter.page_sizes import PageSize

DEFAULT_PAGE: Final = "1275x1650"
NEEDED: Final = ("torch", "transformers")

Function = TypeVar("Function", bound=Callable[..., Any])


def device_option(function: Function, *, required: bool = True) -> Function:
    """--device: what runs, "cpu" or "cuda"."""
    return click.option(
        "--device", type=click.Choice(["cpu", "cuda"]), required=required, help="What runs the operators here."
    )(function)


def repeats_option(function: Function) -> Function:
    """--repeats: times of which the median is taken."""
    return click.option(
        "--repeats", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Times, for the median."
    )(function)


def threads_option(function: Function) -> Function:
    """--threads: of PyTorch's operators on the CPU; None: its own choice."""
    return click.option(
        "--threads",
        type=click.IntRange(1),
        default=None,
        metavar="N",
        help="Threads of operators on the CPU; 1 where other programs hold its cores.  [default: PyTorch's choice]",
    )(function)


def check_installed(who: str) -> None:
    """Raise `ModelMeterError` unless what measurements import is here."""
    missing = [each for each in NEEDED if find_spec(each) is None]
    if missing:
        raise ModelMeterError(
            f"{who} runs real operators and needs {' and '.join(missing)}; pip install {' '.join(missing)}."
        )


def check_tables_installed(who: str) -> None:
    """Raise `ModelMeterError` unless what reads tables of kernels is here."""
    if find_spec("pyarrow") is None:
        raise ModelMeterError(f"{who} reads Parquet and needs pyarrow; pip install pyarrow.")


def one_page(who: str, names: Sequence[str]) -> PageSize:
    """The one page that is named, or the default one."""
    pages = [page for each in read_inputs(names or [DEFAULT_PAGE]) for page in each.pages]
    if len(pages) > 1:
        raise ModelMeterError(f"{who}: {len(pages)} pages are given; times are taken for one: give one page.")
    return pages[0]
