"""The plain projectors: what they give on real tensors, by hand, and what they refuse."""

import pytest
import torch
from torch import nn

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.reference.plain import PlainProjector


def test_identity() -> None:
    x = torch.rand(2, 4, 3)
    module = PlainProjector("identity", input_dim=3, n_embed=5)
    assert torch.equal(module(x), x)
    assert list(module.parameters()) == []


def test_a_sequence() -> None:
    module = PlainProjector("mlp_gelu", input_dim=3, n_embed=5, depth=3)
    kinds = [type(layer) for layer in module.layers]
    assert kinds == [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]
    assert [tuple(parameter.shape) for parameter in module.parameters()] == [(5, 3), (5,), (5, 5), (5,), (5, 5), (5,)]


def test_neighbours_become_one_token() -> None:
    """A 3 x 3 grid at ratio 2: padded to 4 x 4, four tokens of the four neighbours each; here their sums."""
    module = PlainProjector("downsample_mlp_gelu", input_dim=1, n_embed=1, depth=1, downsample_ratio=2)
    first = module.layers[0]
    assert isinstance(first, nn.Linear) and first.weight.shape == (1, 4)
    with torch.no_grad():
        first.weight.fill_(1)
        first.bias.zero_()
        sums = module(torch.arange(1.0, 10.0).view(1, 9, 1))  # 1 2 3 / 4 5 6 / 7 8 9
    assert sums.flatten().tolist() == [1 + 2 + 4 + 5, 3 + 6, 7 + 8, 9]


def test_widths_of_a_downsample() -> None:
    module = PlainProjector("downsample_mlp_gelu", input_dim=2, n_embed=3, depth=3, mlp_ratio=5, downsample_ratio=2)
    shapes = [tuple(layer.weight.shape) for layer in module.layers if isinstance(layer, nn.Linear)]
    assert shapes == [(15, 8), (15, 15), (3, 15)]


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ModelMeterError, match='did you mean "mlp_gelu"'):
        PlainProjector("mlp_gel", input_dim=1, n_embed=1)
