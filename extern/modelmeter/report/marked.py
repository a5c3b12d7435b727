"""Generated text within a file that is written by hand, between `<!-- name:begin -->` and `<!-- name:end -->`."""

from modelmeter.errors import ModelMeterError


def refresh_marked(who: str, text: str, name: str, content: str) -> str:
    """`text` with `content` between the markers `name`, which must be there once each, in order."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, begins, rest = text.partition(begin)
    _, ends, after = rest.partition(end)
    if not (begins and ends) or begin in rest or end in before + after:
        raise ModelMeterError(f"{who}: the lines {begin} and {end} are not there once each, in this order; add them.")
    return f"{before}{begin}\n\n{content}\n{end}{after}"
