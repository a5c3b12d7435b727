"""Indexing by a mask on the meta device, where nobody can count how many entries are true: the number is declared.

PyTorch's meta kernels of `index` and `index_put_` ask `nonzero` for the entries of a mask, which has no answer without
data. The operator that the instruments see is the indexing itself; `nonzero` runs within it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def entries_declared(count: int | Mapping[tuple[int, ...], int]) -> Iterator[None]:
    """Run with `count` entries true in every mask that indexes a tensor on the meta device, or as many by its shape."""

    def nonzero(mask: Tensor) -> Tensor:
        entries = count if isinstance(count, int) else count[tuple(mask.shape)]
        return torch.empty(entries, mask.dim(), dtype=torch.long, device="meta")

    with torch.library._scoped_library("aten", "IMPL") as library:
        library.impl("nonzero", nonzero, "Meta", allow_override=True)
        yield
