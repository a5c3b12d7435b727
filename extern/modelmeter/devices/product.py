"""`Product`: an operator with multiply-adds as a device runs it, told apart by its sizes."""

from __future__ import annotations

from dataclasses import dataclass

from modelmeter.walk import Shape


@dataclass(frozen=True, kw_only=True)
class Product:
    """A matmul-like operator. flops, nbytes: of one call; bytes are read and written, as the roofline counts them.

    inputs, output: shapes, as in `OperatorRecord`. experts_hit: experts that have rows in a grouped GEMM, else 0.
    """

    aten: str
    dtype: str
    inputs: tuple[Shape, ...]
    output: Shape
    flops: int
    nbytes: int
    experts_hit: int

    @property
    def name(self) -> str:
        """The operator and its sizes in words.

        >>> Product(aten="aten.mm.default", dtype="bfloat16", inputs=((83, 1280), (64, 1280)), output=(83, 64),
        ...         flops=0, nbytes=0, experts_hit=0).name
        'mm 83x1280 64x1280 -> 83x64'
        """
        sizes = " ".join("x".join(map(str, shape)) for shape in self.inputs)
        return f"{self.aten.split('.')[1].lstrip('_')} {sizes} -> {'x'.join(map(str, self.output))}"
