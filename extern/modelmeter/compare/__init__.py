"""Models side by side on one's own pages: what each costs, how fast it is on devices, how well it was found to read."""

from modelmeter.compare.pages import Given, Pages, Steps
from modelmeter.compare.rows import Comparison, Entry, Result, compute

__all__ = ["Comparison", "Entry", "Given", "Pages", "Result", "Steps", "compute"]
