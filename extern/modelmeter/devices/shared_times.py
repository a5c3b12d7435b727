"""Times of many workloads of one model on one device, computed once where they are the same.

Workloads that differ in pages, in output tokens or in the batch ask for the same stages again and again. All decodes
that any of them may ask for are known from the start; those of one batch are computed together, as one running sum over
the contexts that they reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelmeter.devices.stage_time import Estimate, EstimateArrays

if TYPE_CHECKING:
    from modelmeter.devices.service import Times

Array = Any


class SharedTimes:
    """`times`, with what was computed kept.

    decodes: all that will be asked for, each as tokens of the prefill and steps after it.
    """

    def __init__(self, times: Times, decodes: Iterable[tuple[int, int]]) -> None:
        self.times = times
        self.bound = times.bound
        self._places = {pair: place for place, pair in enumerate(dict.fromkeys(decodes))}
        self._decoded: dict[int | None, EstimateArrays] = {}
        self._stages: dict[tuple[str, tuple[Any, ...], int], EstimateArrays] = {}

    def stages(self, stage: str, layouts: Sequence[Any], cached: int = 0) -> EstimateArrays:
        """Of "prefill" of requests with pages of these layouts, over so many positions of a cache."""
        asked = stage, tuple(layouts), cached
        if asked not in self._stages:
            self._stages[asked] = self.times.stages(stage, layouts, cached)
        return self._stages[asked]

    def prompt(self, tokens: int, cached: int = 0) -> Estimate:
        """Of the prefill of a prompt without an image, over so many positions of a cache."""
        return self.times.prompt(tokens, cached)

    def decode_many(self, seq_lens: Array, steps: Array, *, batch: int | None = None) -> EstimateArrays:
        """Of so many steps after each prefill, of `batch` pages at once."""
        pairs = zip(np.asarray(seq_lens).tolist(), np.asarray(steps).tolist(), strict=True)
        places = [self._places[pair] for pair in pairs]
        if batch not in self._decoded:
            starts, counts = np.array(list(self._places), np.int64).T
            self._decoded[batch] = self.times.decode_many(starts, counts, batch=batch)
        return self._decoded[batch].mapped(lambda each: each[places])
