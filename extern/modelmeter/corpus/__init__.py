"""Corpora of pages: millions of sizes in, exact totals and distributions out.

Needs numpy and pyarrow (the extra `corpus`). It works on any model that keeps the promises of `CorpusModel`.
"""

from modelmeter.corpus.kinds import page_kinds
from modelmeter.corpus.page_costs import ModelLoader, PageCosts, SizeColumns, page_costs
from modelmeter.corpus.run import CorpusOptions, run_corpus
from modelmeter.corpus.totals import CorpusCost, Distribution, Group, corpus_cost
from modelmeter.models.common.contract import CorpusModel
from modelmeter.models.common.totals import Totals

__all__ = [
    "CorpusCost",
    "CorpusModel",
    "CorpusOptions",
    "Distribution",
    "Group",
    "ModelLoader",
    "PageCosts",
    "SizeColumns",
    "Totals",
    "corpus_cost",
    "page_costs",
    "page_kinds",
    "run_corpus",
]
