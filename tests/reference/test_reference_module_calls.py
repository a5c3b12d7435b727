"""The watch over a model's modules."""

import torch
from torch import Tensor, nn

from modelmeter.reference.module_calls import ModuleCall, ModuleCalls


class Twice(nn.Module):
    """Runs its one layer twice, the second time by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, *, scale: Tensor | None = None) -> tuple[Tensor, None, list[Tensor]]:
        first = self.layer(x)
        return first, None, [self.layer(input=first[:1])]


def test_module_calls() -> None:
    model, begun = Twice(), []
    x, scale = torch.zeros(2, 3), torch.zeros(())

    def label(path: str) -> str:
        begun.append(path)
        return str(len(begun))

    with ModuleCalls(model, label) as seen:
        model(x, scale=scale)
    model(x)  # no longer watched
    assert begun == ["", "layer", "layer"]
    assert seen.by_path == {
        "": [ModuleCall(label="1", inputs=[(2, 3), ()], outputs=[(2, 3), (1, 3)])],
        "layer": [
            ModuleCall(label="2", inputs=[(2, 3)], outputs=[(2, 3)]),
            ModuleCall(label="3", inputs=[(1, 3)], outputs=[(1, 3)]),
        ],
    }
