"""Where what a real model runs stands in the cost model's walks: its parts, the branches of a page, its modules.

A real module counts under its published (checkpoint) path, with the branch of the page, global or crops, in front of
SAM, CLIP and projector. Who calls this translates the paths of the model that was measured to the published ones.
"""

from collections.abc import Callable, Sequence

from modelmeter.reference.measurement import Measurement

PARTS = ("sam_model", "vision_model", "projector", "embed_tokens", "norm", "lm_head")
"""Published names of the parts that FLOPs are given by, beside the decoder's layers."""

VISION_TOWER = "vision_tower"
"""SAM and CLIP together, which the checkpoint has no name for."""

TOWER = ("sam_model", "vision_model", "projector")
"""The parts that run once for each branch of a page, the global view and the crops."""

WITHIN = frozenset({"act", "act_fn", "activation_fn", "position_embedding"})
"""Modules of the real code that are no layers of the cost model: what they run counts to the module around them."""


def place(path: str, run: int, branches: Sequence[str]) -> str:
    """Where an operator stands in the cost model's walks: its module's published path, the branch in front.

    path: the published one. run: which run of the vision part that was; they go through `branches` again and again.
    An operator outside all modules, or in a function of the whole model or of its decoder, stands at "".
    """
    outer, _, name = path.rpartition(".")
    if name in WITHIN:
        path = outer
    part = path.partition(".")[0]
    branch = branches[run % len(branches)]
    if part == VISION_TOWER:
        return branch
    if path == "projector":  # in the checkpoint a module around its one layer
        path = "projector.layers"
    return f"{branch}.{path}" if part in TOWER else path


def module_flops(
    measured: Measurement,
    named: Callable[[str], str],
    branches: Sequence[str],
) -> dict[str, int]:
    """FLOPs of a stage by published module path: SAM, CLIP and projector of each branch, decoder layers, the rest.

    "global.sam_model", "crops.projector", "layers.3", "lm_head", ...; "" is what ran between them.
    named: the published path of a module. branches: in the order in which the model runs
    them, again and again.
    """
    sums: dict[str, int] = {}
    for each in measured.operator_flops:
        name = published_part(named(each.path))
        if name in TOWER:
            name = f"{branches[each.run % len(branches)]}.{name}"
        sums[name] = sums.get(name, 0) + each.flops
    return sums


def published_part(path: str) -> str:
    """The part that a published module path lies in, "" for none: see `module_flops`."""
    names = path.split(".")
    if names[0] == "layers" and len(names) > 1:
        return ".".join(names[:2])
    return names[0] if names[0] in PARTS else ""
