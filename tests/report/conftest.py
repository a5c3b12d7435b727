"""A real browser."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from modelmeter.report.screenshots import NoBrowser, browser


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            started = stack.enter_context(browser())
        except NoBrowser as error:
            pytest.skip(str(error))
        yield started
