"""A prompt without an image in the place of a page, `modelmeter page text:500`: its stages, memory and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelmeter.errors import ModelMeterError
from modelmeter.memory import GPU

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.cli.arguments import Input
    from modelmeter.devices import Device
    from modelmeter.devices.stage_time import StageTimes
    from modelmeter.models.common.contract import TextCost
    from modelmeter.report.fitting import Fitting
    from modelmeter.report.page_screen import Asked
    from modelmeter.report.page_times import OnDevice


def check_prompts(inputs: Sequence[Input], into_page: str | None) -> bool:
    """Whether the one input is a prompt; raises `ModelMeterError` for several, and for an option that needs a page."""
    prompts = [each.name for each in inputs if each.prompt_tokens is not None]
    if not prompts:
        return False
    if len(inputs) > 1:
        raise ModelMeterError(
            f"page: {prompts[0]} is a prompt without an image, which is told alone; of several inputs together, "
            "modelmeter throughput says what they take."
        )
    if into_page is not None:
        raise ModelMeterError(f"page: {into_page} looks into a page, and {prompts[0]} has none; leave it out.")
    return True


def found_of(asked: Asked, given: Input, times: StageTimes | str | None) -> OnDevice | str | None:
    """What a device makes of the prompt, or why it does not."""
    if times is None or isinstance(times, str):
        return times
    from modelmeter.devices import PageKind
    from modelmeter.report.page_times import kinds_on_device

    kind: PageKind[Any] = PageKind(page=text_of(asked, given, 0), output_tokens=asked.steps, label=given.name)
    try:
        return kinds_on_device(asked.model, times, [kind])
    except ModelMeterError as error:
        return str(error)


def text_of(asked: Asked, given: Input, output_tokens: int) -> TextCost:
    """What the prompt costs."""
    try:
        return asked.model.text(given.prompt_tokens or 0, output_tokens)
    except ModelMeterError as error:
        raise ModelMeterError(f"page {given.name}: {error}") from error


def prompt_content(asked: Asked, given: Input, device: Device | None) -> dict[str, Any]:
    """For JSON: in the place of a page, what it costs."""
    text = text_of(asked, given, asked.steps)
    return {"source": given.name} | text.to_dict(device_kind=GPU if device is None else device.kind)


def prompt_screen(
    asked: Asked, given: Input, device: Device | None, found: OnDevice | str | None
) -> list[RenderableType | Fitting]:
    """As of one page, without what is vision's."""
    from modelmeter.report import page_screen, page_tables

    text = text_of(asked, given, asked.steps)
    return [
        f"{given.name}: a prompt of {given.prompt_tokens:,} tokens without an image",
        page_screen.prompt_lines(asked, text),
        "",
        page_tables.stage_table(text, asked.model.assumptions(), asked.show, page_screen.SHORT),
        "",
        page_screen.prompt_result_lines(
            asked, text, text.vram(device_kind=GPU if device is None else device.kind), found
        ),
    ]
