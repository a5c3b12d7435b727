"""A model for the corpora, and tables of sizes."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelmeter.corpus import ModelLoader
from modelmeter.models.deepseek_ocr import CostModel, load_cost_model


@pytest.fixture(scope="session")
def load_model() -> ModelLoader[CostModel]:
    """Makes the default model; once for all tests."""
    return ModelLoader(partial(load_cost_model, []))


@pytest.fixture(scope="session")
def model(load_model: ModelLoader[CostModel]) -> CostModel:
    return load_model()


@pytest.fixture
def write_parquet(tmp_path: Path) -> Any:
    """write_parquet(columns, name="pages.parquet", row_group_size=None) -> its path, as text."""

    def write(columns: Mapping[str, Sequence[Any]], name: str = "pages.parquet", row_group_size: int = 0) -> str:
        path = tmp_path / name
        pq.write_table(pa.table(dict(columns)), path, row_group_size=row_group_size or None)
        return str(path)

    return write
