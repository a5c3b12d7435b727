"""How many GPUs a load needs: models, devices and engines that hold limits at a rate, and why the others lose."""

from modelmeter.plan.demand import Demand, ServiceLevel
from modelmeter.plan.prices import Prices
from modelmeter.plan.ways import Candidate, Plan, Question, Way, compute

__all__ = ["Candidate", "Demand", "Plan", "Prices", "Question", "ServiceLevel", "Way", "compute"]
