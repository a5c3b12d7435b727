"""Plain PyTorch modules for the projector types of the published class that no module of transformers has."""

from itertools import pairwise

from torch import Tensor, nn

from modelmeter.errors import ModelMeterError, near

PROJECTOR_TYPES = ("identity", "mlp_gelu", "downsample_mlp_gelu")


class PlainProjector(nn.Module):  # type: ignore[misc]
    """Features [B, tokens, input_dim] -> [B, tokens, n_embed] by one of `PROJECTOR_TYPES`.

    downsample_mlp_gelu joins the `downsample_ratio` squared neighbours of the square token grid first, padded to a
    multiple of the ratio.    Source: the published `MlpProjector`.
    """

    def __init__(
        self,
        projector_type: str,
        *,
        input_dim: int,
        n_embed: int,
        depth: int = 1,
        mlp_ratio: int = 1,
        downsample_ratio: int = 2,
    ) -> None:
        super().__init__()
        if projector_type not in PROJECTOR_TYPES:
            raise ModelMeterError(
                f"PlainProjector: no type {projector_type!r}; {near(projector_type, PROJECTOR_TYPES)}"
            )
        self.ratio = downsample_ratio if projector_type == "downsample_mlp_gelu" else 0
        widths = {
            "identity": [input_dim],
            "mlp_gelu": [input_dim, *[n_embed] * depth],
            "downsample_mlp_gelu": [input_dim * self.ratio**2, *[n_embed * mlp_ratio] * (depth - 1), n_embed],
        }[projector_type]
        layers: list[nn.Module] = []
        for width, next_width in pairwise(widths):
            layers += [nn.GELU()] * bool(layers) + [nn.Linear(width, next_width)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """As the published class: join neighbours where the type asks for it, then the layers."""
        if self.ratio:
            batch, positions, width = x.shape
            side = int(positions**0.5)
            missing = -side % self.ratio
            x = x.reshape(batch, side, side, width)
            if missing:
                x = nn.functional.pad(x, (0, 0, 0, missing, 0, missing))
            x = nn.functional.unfold(x.permute(0, 3, 1, 2), kernel_size=self.ratio, stride=self.ratio)
            x = x.permute(0, 2, 1)
        return self.layers(x)
