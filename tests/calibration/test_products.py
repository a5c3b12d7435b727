"""The products of a page: all of its tensor-core FLOPs, and what each of them needs to be run."""

from modelmeter.calibration.products import page_products
from modelmeter.models.deepseek_ocr import load_cost_model
from tests.calibration.synthetic import SMALL


def test_the_products_are_all_tensor_core_flops_of_a_page() -> None:
    model = load_cost_model(SMALL)
    page = model.page(600, 800, 1)
    products = page_products(model, page, 1)
    assert sum(product.flops * count for product, count in products.items()) == page.total.tensor_core_flops
    without = page_products(model, page, 0)
    assert sum(product.flops * count for product, count in without.items()) == page.prefill.tensor_core_flops


def test_experts_that_are_hit() -> None:
    model = load_cost_model(SMALL)
    page = model.page(600, 800, 1)
    grouped = {
        (product.inputs, product.output): product.experts_hit
        for product in page_products(model, page, 1)
        if product.aten == "aten._grouped_mm.default"
    }
    rows = 2 * page.seq_len  # each position goes to two of four experts; gate and up are one product of 2 x 32
    assert grouped == {
        (((rows, 64), (4,)), (rows, 64)): 4,
        (((rows, 32), (4,)), (rows, 64)): 4,
        (((2, 64), (4,)), (2, 64)): 2,
        (((2, 32), (4,)), (2, 64)): 2,
    }


def test_names() -> None:
    model = load_cost_model(SMALL)
    names = {product.name for product in page_products(model, model.page(600, 800), 0)}
    assert "addmm 1x2048 64x2048 64 -> 1x64" in names
    assert "grouped_mm 26x64 4 -> 26x64" in names
