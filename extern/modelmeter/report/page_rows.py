"""`Row`: pages of one size in a file, and what one of them costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelmeter.models.common.contract import PageCost
    from modelmeter.models.common.vram import Vram
    from modelmeter.page_sizes import PageSize


@dataclass(frozen=True, kw_only=True)
class Row:
    """Pages of one size in a file. name: which, as in "pages 1-3, 6"; count: how many."""

    name: str
    size: PageSize
    count: int
    page: PageCost
    vram: Vram
