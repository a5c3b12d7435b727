"""A plan as a report: the decision first, then its pages by the best way, or by the one that comes nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from modelmeter.cli.plan import Answer, answered_in, sorted_ways, subject_of
from modelmeter.cli.report import AskedOfReport
from modelmeter.cli.run import differ, differences
from modelmeter.cli.scenario import PLAN, given_options, is_scenario, names_of_option, read_scenario
from modelmeter.devices import bundled_devices
from modelmeter.devices.engine import timed_assumptions
from modelmeter.errors import ModelMeterError
from modelmeter.files import check_output
from modelmeter.models.common.engines import served
from modelmeter.report.content import Request, build_report, sent, sent_override
from modelmeter.report.parts import BY
from modelmeter.report.plan_report import TITLE, plan_section, with_plan

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from modelmeter.devices import PageKind
    from modelmeter.report.document import Report

#: options of `report` that a plan leaves open
_OPEN = ("output", "form", "title", "by", "as_json", "debug")


class Planned(NamedTuple):
    """A plan's report, lines about it, and whether anything holds its limits."""

    report: Report
    told: Sequence[str]
    holds: bool


def report_of_file(
    context: click.Context, arguments: Sequence[str], path: Path | None, *, title: str | None, by: Sequence[str]
) -> Planned:
    """The report of a saved plan, answered anew, or of a plan's scenario. context: of `modelmeter report`.

    path: of the report, None where it goes to standard output.
    """
    file, *others = sorted(arguments, key=lambda each: not is_scenario(each))
    given = [f"--{names_of_option(option)[0]}" for option, _ in given_options(context) if option.name not in _OPEN]
    for more in (*others, *given):
        raise ModelMeterError(
            f"report: {file} is a plan, which says its pages, devices and settings itself; leave {more} out, or change "
            "the plan."
        )
    scenario = read_scenario(file)
    if scenario.kind != PLAN:
        raise ModelMeterError(
            f"report: {file} is a scenario of {scenario.kind}, and a report opens with a plan alone; modelmeter run "
            f"{file} runs it."
        )
    if path is not None:
        check_output("report", path, [file, *scenario.inputs])
    with scenario.context(context) as inner:
        answer = answered_in(inner)
    kept = None
    if scenario.result is not None:
        count = len(list(differences(scenario.result, answer.content)))
        of = scenario._replace(file=sent(file)).of
        kept = f"{differ(count)} from {of}: modelmeter run says which" if count else f"the same as {of}"
    return planned(answer, title=title, by=by, kept=kept)


def planned(answer: Answer, *, title: str | None = None, by: Sequence[str] = (), kept: str | None = None) -> Planned:
    """The report of a plan. kept: what a saved one says of it."""
    plan, source = answer.plan, answer.source
    way = plan.best or plan.ways[0]
    read = answer.read_of(way)
    assert way.serves is not None
    workers = [] if read.candidate.workers_given else [f"host.workers={way.serves.workers}"]
    overrides = [*read.overrides, *workers]
    asked = AskedOfReport(
        files=source.files,
        output_tokens=_steps(source.output_tokens, read.candidate.kinds, told=source.texts[0] is not None),
        texts=source.texts,
        table={name: value for name, value in source.table.items() if name != "by"},
        dpi=source.dpi,
        max_pixels=source.max_pixels,
    )
    pages, assumed, notes = asked.read(read.asked.package, overrides)
    model = read.asked.package.load_cost_model(served(overrides, read.asked.package.EXECUTIONS))
    known = {*model.assumptions(), *timed_assumptions(model), *assumed}
    everyone = {each.name: each for each in (*bundled_devices(), *(each.device for each in plan.ways))}
    subject = subject_of([asked.sent.name(each) for each in source.files])
    report = build_report(
        Request(
            model=read.asked.name,
            package=read.asked.package,
            overrides=overrides,
            subject=f"{plan.question.demand.words}: {subject}",
            pages=pages,
            device=way.device,
            chosen=True,
            devices=list(everyone.values()),
            prices=plan.question.prices.an_hour,
            title=title or TITLE,
            by=by or BY,
            assumed=[*assumed, *(each for each in answer.assumptions if each not in known)],
        )
    )
    section = plan_section(
        plan,
        sorted_ways(plan, answer.sort),
        subject=subject,
        given=answer.given(asked.sent.name, sent_override, sent),
        benchmark=answer.benchmark,
        kept=kept,
    )
    return Planned(with_plan(report, section, way), notes, plan.best is not None)


def _steps(output_tokens: Sequence[str], kinds: Sequence[PageKind[Any]], *, told: bool) -> str | None:
    """Decode steps as a report takes them: a number, or a column. Where pages of one size say more or less, the median.

    told: whether a class of the pages says it.
    """
    if told or not output_tokens:
        return None
    if len(output_tokens) == 1 and not set(output_tokens[0]) & set("=:"):
        return output_tokens[0]
    said: dict[int, Fraction] = {}
    for kind in kinds:
        spread = kind.output_tokens if isinstance(kind.output_tokens, Mapping) else {kind.output_tokens: 1}
        whole = sum((Fraction(weight) for weight in spread.values()), Fraction(0))
        for steps, weight in spread.items():
            said[steps] = said.get(steps, Fraction(0)) + kind.count * Fraction(weight) / whole
    left = sum(said.values()) / 2
    for steps in sorted(said):
        left -= said[steps]
        if left <= 0:
            break
    return str(steps)
