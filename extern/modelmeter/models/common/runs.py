"""Runs of decode steps, in each of which what a step computes and moves grows evenly from one to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from modelmeter.layers.decoder.cache import Piece


class StepRun(NamedTuple):
    """`count` steps: the first after `first` that came before it, each `period` after the one before."""

    first: Any
    period: int
    count: Any


def runs(pieces: Sequence[Piece], steps: Any) -> Iterator[StepRun]:
    """The runs of `steps` steps under a law in pieces; the number may be a size that varies."""
    for piece, later in zip_longest(pieces, pieces[1:]):
        if steps <= piece.start:
            return
        end = later.start if later and later.start < steps else steps
        for first in range(piece.start, piece.start + piece.period):
            if end <= first:
                break
            yield StepRun(first, piece.period, (end - first + piece.period - 1) // piece.period)
