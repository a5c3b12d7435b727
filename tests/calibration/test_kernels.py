"""Products, copies and times on real tensors; nothing here asserts how long anything takes."""

import pytest
import torch

from modelmeter.calibration.products import page_products
from modelmeter.devices.product import Product
from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.reference.kernels import convolution_geometry, copy_call, product_call, square_product
from modelmeter.reference.timing import CallTimes, check_device, machine, time_call
from tests.calibration.synthetic import SMALL


@pytest.mark.parametrize("overrides", [[], ["runtime.attention=eager", "runtime.dtype=float32"]])
def test_every_product_of_a_page_runs_and_gives_its_shape(overrides: list[str]) -> None:
    model = load_cost_model([*SMALL, *overrides])
    products = page_products(model, model.page(600, 800, 1), 1)
    kinds = {product.aten for product in products}
    assert len(kinds) >= 5
    for product in products:
        result = product_call(product, "cpu")()
        assert isinstance(result, torch.Tensor)
        assert tuple(result.shape) == product.output, product
        assert str(result.dtype) == f"torch.{product.dtype}"


def test_a_product_that_nothing_runs_is_refused() -> None:
    product = Product(
        aten="aten.mv.default", dtype="float32", inputs=((2, 3), (3,)), output=(2,), flops=12, nbytes=44, experts_hit=0
    )
    with pytest.raises(ModelMeterError, match=r"aten\.mv\.default is a GEMM that nothing here runs"):
        product_call(product, "cpu")


@pytest.mark.parametrize(
    "pixels, weight, out, expected",
    [
        ((1, 3, 512, 512), (768, 3, 16, 16), (1, 768, 32, 32), (16, 0)),
        ((1, 256, 32, 32), (256, 256, 3, 3), (1, 256, 32, 32), (1, 1)),
        ((1, 256, 32, 32), (512, 256, 3, 3), (1, 512, 16, 16), (2, 1)),
        ((1, 768, 5, 7), (256, 768, 1, 1), (1, 256, 5, 7), (1, 0)),
    ],
)
def test_stride_and_padding(pixels, weight, out, expected) -> None:  # type: ignore[no-untyped-def]
    assert convolution_geometry(pixels, weight, out) == expected


def test_no_convolution_makes_it() -> None:
    with pytest.raises(ModelMeterError, match="no convolution"):
        convolution_geometry((1, 3, 8, 8), (4, 3, 3, 3), (1, 4, 20, 20))


def test_probe_and_copy() -> None:
    probe = square_product(16, "bfloat16")
    assert (probe.flops, probe.nbytes) == (2 * 16 * 16 * 16, 3 * 16 * 16 * 2)
    result = product_call(probe, "cpu")()
    assert isinstance(result, torch.Tensor) and result.shape == (16, 16)
    copied = copy_call(100, "cpu")()
    assert isinstance(copied, torch.Tensor) and copied.nbytes == 100


def test_every_repetition_makes_the_calls_that_it_is_divided_by() -> None:
    calls = []
    times = time_call(lambda: calls.append(torch.is_grad_enabled()), "cpu", repeats=4, warmup=3, least_s=1e-5)
    assert len(times.seconds) == 4
    assert len(calls) == 3 + 4 * times.calls
    assert not any(calls)


def test_median_and_spread() -> None:
    times = CallTimes(seconds=(0.5, 0.1, 0.2), calls=1)
    assert times.median_s == 0.2
    assert times.spread == 2


def test_the_machine() -> None:
    here = machine("cpu")
    assert here.name and here.memory_bytes > 10**8 and here.threads >= 1
    assert here.versions["torch"] == torch.__version__
    with pytest.raises(ModelMeterError, match='device cud cannot be measured; did you mean "cuda"'):
        check_device("cud")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_here() -> None:
    with pytest.raises(ModelMeterError, match="finds no CUDA device"):
        check_device("cuda")
