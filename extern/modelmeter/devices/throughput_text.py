"""What `print`, `repr` and a notebook show of a `Throughput`: at most 80 columns and 20 lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from modelmeter.quantities import estimated
from modelmeter.units import GIGA

if TYPE_CHECKING:
    from modelmeter.devices.throughput import Throughput

#: figures with an interval: name, words, whether they are shown of pages without output
_FIGURES: Final = (
    ("page_latency_s", "seconds from arrival to last token", True),
    ("ttft_s", "  to the first token", True),
    ("tpot_s", "  for each further token", False),
    ("prefill_s", "seconds of the device: prefill", True),
    ("decode_s", "  decode, a page's share of the batch", False),
    ("pages_per_s", "pages/s", True),
    ("pages_per_day", "pages/day", False),
    ("output_tokens_per_s", "output tokens/s", False),
    ("cost_per_1000_pages", "cost of 1,000 pages", False),
)


def line(result: Throughput) -> str:
    """A result in a line."""
    latency, rate = (estimated(getattr(result, name)) for name in ("page_latency_s", "pages_per_s"))
    least = "at least " if result.bound else ""
    return (
        f"<Throughput {result.device.name} engine={result.engine} batch_size={result.batch_size}: {least}{latency} s a "
        f"page, {'at most ' if result.bound else ''}{rate} pages/s>"
    )


def text(result: Throughput) -> str:
    """A result as a table."""
    rows = [f"{words:<36}{value:>12}  {interval}".rstrip() for words, value, interval in _rows(result)]
    return "\n".join([_head(result), *rows, *_rest(result)])


def html(result: Throughput) -> str:
    """A result as an HTML table."""
    rows = "".join(
        f'<tr><th scope="row" style="text-align: left; white-space: pre">{escape(words)}</th>'
        f'<td style="text-align: right">{escape(value)}</td><td>{escape(interval)}</td></tr>'
        for words, value, interval in _rows(result)
    )
    rest = "".join(f"<p>{escape(each)}</p>" for each in _rest(result))
    return f"<div><p>{escape(_head(result))}</p><table><tbody>{rows}</tbody></table>{rest}</div>"


def _head(result: Throughput) -> str:
    pages = "one page alone" if result.batch_size == 1 else f"{result.batch_size:,} pages at once"
    kind = "bounds: times at least, rates at most" if result.bound else "estimates (low to high)"
    return f"{result.device.named(result.devices)}, engine={result.engine}, {pages}; {kind}"


def _rows(result: Throughput) -> Iterator[tuple[str, str, str]]:
    """Words, the figure, its interval."""
    for name, words, always in _FIGURES:
        if getattr(result, name) is None or not (always or result.output_tokens):
            continue
        value, low, high = result.interval(name)
        certain = result.bound or low == high
        yield words, estimated(value), "" if certain else f"({estimated(low)} to {estimated(high)})"


def _rest(result: Throughput) -> Sequence[str]:
    """What limits it, and what of the memory it takes."""
    memory = result.memory
    parts = {"weights": memory.weight_bytes, "cache": memory.cache_bytes}
    if memory.pool is None:
        parts["activations"] = memory.activation_bytes
    listed = ", ".join(f"{name} {estimated(nbytes / GIGA)} GB" for name, nbytes in parts.items())
    return (
        f"limited by {result.limited_by}",
        f"memory: {listed}, of {estimated(result.device.memory_bytes / GIGA)} GB",
        "assumptions() says what is assumed, figures() has every figure and its origin",
    )
