"""ModelMeter: what OCR with a vision-language model computes, moves and holds, from the size of a page.

>>> from modelmeter import load_cost_model
>>> load_cost_model(["workload=base"]).page(1275, 1650).tokens.total
273
"""

TYPE_CHECKING = False  # the package imports nothing, not even typing
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Any

    from modelmeter.models.common.cost_model import CostModel

__all__ = ["load_cost_model"]


def load_cost_model(
    overrides: "Sequence[str]" = (), model: "str | os.PathLike[str] | None" = None
) -> "CostModel[Any, Any, Any]":
    """The cost model of a model or a checkpoint, under Hydra overrides of its configuration.

    model: a name that `modelmeter models` lists, of a model or of a checkpoint, or the folder of a checkpoint of your
    own; None: what `model=` or `checkpoint=` among the overrides say, else the first model. Raises `ModelMeterError`
    for what does not exist, and for an override that is none of its configuration.
    """
    from modelmeter.models import find, model_package

    name, own = find(model, overrides)
    loaded: Any = model_package(name).load_cost_model(own)  # its own class, of which commands know the promises alone
    made: CostModel[Any, Any, Any] = loaded
    return made
