"""The content of the page for each run: diagnosis, verdict and comparison, seeds taken together, the baseline first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import Any, NamedTuple

from midas_core.diagnostics import Comparison, Diagnosis, Verdict, compare, verdict
from midas_core.diagnostics.average import average
from midas_core.runs import Run, RunError
from midas_core.text import printable

SPLITS = ("test", "validation")
"""The split that is shown where a run has diagnoses of several: the first of these, or else any."""
MOST_CARDS = 8
"""Runs with a card and figures; further ones are in the tables alone."""

MARKS = {"good": "✓", "warn": "!", "bad": "✗", "none": "?"}
BADGES = {
    "ignored": ("ignored", "bad"),
    "underused": ("underused", "warn"),
    "overruled": ("overruled", "warn"),
    "used": ("used", "good"),
    "uninformative": ("knows too little", "none"),
    "unknown": ("unknown", "none"),
    "repaired": ("repaired", "good"),
    "partly": ("partly repaired", "warn"),
    "no": ("not repaired", "bad"),
}
"""Text and kind of the mark of a modality, by its use or repair."""


class Badge(NamedTuple):
    """A mark with its text; ``kind`` is the class of its colours."""

    text: str
    kind: str

    @property
    def mark(self) -> str:
        """The sign in front of the text."""
        return MARKS[self.kind]


@dataclass
class RunContent:
    """The content of one run, or of the seeds of one method; diagnosis, verdict and comparison are of their mean."""

    name: str
    runs: list[Run]
    split: str = ""
    diagnoses: list[Diagnosis] = field(default_factory=list)
    diagnosis: Diagnosis | None = None
    verdict: Verdict | None = None
    comparison: Comparison | None = None
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def run(self) -> Run:
        """The first of the runs."""
        return self.runs[0]

    @property
    def spoken(self) -> str:
        """The name in a sentence, without the number of seeds."""
        return self.name.removesuffix(f" ({len(self.runs)} seeds)")

    def spread(self, key: str) -> str:
        """Return the standard deviation of a number of the diagnosis over the seeds, as a table shows it."""
        values = [getattr(diagnosis, key) for diagnosis in self.diagnoses]
        if len(values) < 2 or any(x is None for x in values):
            return ""
        return f" ± {100 * stdev(values):.1f}"

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        if self.comparison is not None:
            return self.comparison.headline
        if self.verdict is not None:
            return self.verdict.headline
        if not self.run.finished:
            return "No diagnostics: the run was not finished when this page was made."
        return "No diagnostics." if self.run.metrics else "No diagnostics, and nothing was logged."

    @property
    def badges(self) -> list[Badge]:
        """One mark for each modality: its repair since the baseline, or else its use."""
        if self.verdict is None or self.verdict.status in ("unclear", "at chance"):
            chance = self.verdict is not None and self.verdict.status == "at chance"
            return [Badge("at chance", "bad") if chance else Badge("unclear", "none")]
        repairs = {} if self.comparison is None else self.comparison.repairs
        states = {name: repairs.get(name, use) for name, use in self.verdict.uses.items()}
        return [Badge(f"{name}: {BADGES[state][0]}", BADGES[state][1]) for name, state in states.items()]

    @property
    def facts(self) -> list[tuple[str, str, str]]:
        """The numbers of the card: name, value and note."""
        if self.diagnosis is None:
            return []
        d, measured = self.diagnosis, self.diagnosis.measured
        over = f"standard deviation over {len(self.diagnoses)} seeds" if len(self.diagnoses) > 1 else ""
        facts = [("accuracy", f"{number(d.accuracy)}{self.spread('accuracy')} %", over)]
        recall = measured.unit == "recall"
        if recall:
            facts.append(("mean recall", f"{number(measured.fused)} %", "averaged over classes, which are uneven"))
        if d.misaligned_accuracy is not None:
            note = ""
            if d.misaligned_interval is not None:
                low, high = map(number, d.misaligned_interval)
                note = f"95 %: {low} to {high}, chance {number(d.misaligned_chance)}"
            facts.append(("misaligned", f"{number(d.misaligned_accuracy)} %", note))
        note = "mean recall" if recall else ""
        return facts + [(f"{name} alone", f"{number(x)} %", note) for name, x in measured.alone.items()]


def trained_with_midas(run: Run) -> bool:
    """Return whether MIDAS trained a run, by its criterion, its method, or its logging of alpha."""
    told = [x["midas"] for x in run.diagnostics.values() if isinstance(x.get("midas"), bool)]
    if told:
        return bool(told[0])
    method = run.config.get("method")
    if method is not None:
        return "midas" in str(method).lower()
    return any(key.startswith("alpha_") for row in run.metrics for key in row)


def gather(runs: Sequence[Run], *, baseline: str | None = None, ask: bool = False) -> list[RunContent]:
    """Return the content of the page, the baseline first; runs of a method that differ in their seed become one."""
    groups = _by_method(runs)
    names = _unique([group[0].name if len(group) == 1 else _title(group) for group in groups])
    contents = [RunContent(name, list(group)) for name, group in zip(names, groups, strict=True)]
    for content in contents:
        _diagnose(content)
    first = _baseline(contents, baseline, ask)
    contents = [first, *(content for content in contents if content is not first)]
    for content in contents[1:]:
        _compare(first, content)
    # A run with MIDAS on the page is the answer to whether to try it.
    tried = any(trained_with_midas(content.run) for content in contents)
    advised: set[str] = set()
    for content in contents:
        content.lines += content.comparison.findings if content.comparison else ()
        if content.verdict is None or (tried and not trained_with_midas(content.run) and _judged(content)):
            continue
        content.lines += [x for x in content.verdict.advice if x not in advised]
        advised.update(content.verdict.advice)
    return contents


def shown(contents: Sequence[RunContent]) -> list[RunContent]:
    """Return the runs with a card and figures: the baseline, those with MIDAS, and the most accurate."""

    def rank(content: RunContent) -> tuple[bool, bool, float]:
        accuracy = -1.0 if content.diagnosis is None else content.diagnosis.accuracy
        return content is contents[0], trained_with_midas(content.run), accuracy

    chosen = {id(content) for content in sorted(contents, key=rank, reverse=True)[:MOST_CARDS]}
    return [content for content in contents if id(content) in chosen]


def _judged(content: RunContent) -> bool:
    return content.verdict is not None and content.verdict.status in ("ignored", "underused", "balanced")


def _compare(first: RunContent, content: RunContent) -> None:
    if first.diagnosis is None or content.diagnosis is None:
        return
    if first.diagnosis.names != content.diagnosis.names:
        content.problems.append(f"it has other modalities than {first.name}: not compared")
        return
    if first.split != content.split:
        content.problems.append(f"diagnosed on {content.split} data, but {first.name} on {first.split} data")
    content.comparison = compare(first.diagnosis, content.diagnosis, names=(first.spoken, content.spoken))


def _by_method(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs in groups: the seeds of a method together, else one by one, in the order in which they come."""
    groups: dict[Any, list[Run]] = {}
    for i, run in enumerate(runs):
        method, seed = run.config.get("method"), run.config.get("seed")
        key: Any = (str(method), str(run.config.get("data")), run.modalities)
        seeds = [str(other.config["seed"]) for other in groups.get(key, [])]
        if method is None or seed is None or str(seed) in seeds:
            key = i  # by itself
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _title(group: Sequence[Run]) -> str:
    return printable(f"{group[0].config['method']} ({len(group)} seeds)")


def _baseline(contents: Sequence[RunContent], name: str | None, ask: bool) -> RunContent:
    """Return the run that the others are compared to."""
    names = ", ".join(content.name for content in contents)
    if name is not None:
        named = [x for x in contents if name in (x.name, x.spoken, *(run.name for run in x.runs))]
        if not named:
            raise RunError(f"baseline: expected one of {names}, got {name!r}")
        return named[0]
    joint = [x for x in contents if "joint" in (str(x.run.config.get("method")).lower(), x.run.name.lower())]
    others = [x for x in contents if not trained_with_midas(x.run)]
    for candidates in (joint, others):
        if len(candidates) == 1:
            return candidates[0]
    if ask and len(contents) > 1:
        raise RunError(f"which run are the others to be compared to? Name it with --baseline, one of {names}")
    return contents[0]


def number(value: Any, digits: int = 1) -> str:
    """Return a share as percent for a table; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{100 * value:.{digits}f}"


def _diagnose(content: RunContent) -> None:
    """Read the diagnoses of one split from the runs, and judge their mean."""
    for run in content.runs:
        prefix = f"{run.name}: " if len(content.runs) > 1 else ""
        content.problems += [f"{prefix}{problem}" for problem in run.problems]
        known = run.diagnostics
        order = [*(x for x in SPLITS if x in known), *(x for x in known if x not in SPLITS)]
        for split in [x for x in order if content.split in ("", x)]:
            try:
                content.diagnoses.append(Diagnosis.from_dict(known[split]))
            except ValueError as error:
                content.problems.append(f"{prefix}diagnostics of {printable(split)} could not be read: {error}")
                continue
            content.split = split
            break
    same = [x for x in content.diagnoses if x.names == content.diagnoses[0].names]
    if len(same) < len(content.diagnoses):
        content.problems.append("the diagnoses of some seeds are of other modalities: left out")
    content.diagnoses = same
    if same:
        content.diagnosis = average(same)
        content.verdict = verdict(content.diagnosis, trained_with_midas=trained_with_midas(content.run))


def _unique(names: Sequence[str]) -> list[str]:
    result: list[str] = []
    for name in names:
        count, candidate = 1, name
        while candidate in result:
            count += 1
            candidate = f"{name} ({count})"
        result.append(candidate)
    return result
