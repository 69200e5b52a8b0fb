"""What the page says of each run: diagnosis, verdict and comparison, seeds taken together, the baseline first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import Any

from midas_core.diagnostics import Comparison, Diagnosis, Verdict, compare, verdict
from midas_core.diagnostics.average import average
from midas_core.diagnostics.verdict import WORST_FIRST
from midas_core.runs import Run, RunError
from midas_core.text import printable

SPLITS = ("test", "validation")
"""What is shown where a run has diagnostics of several splits: the first of these, or else any."""

KINDS = {
    "ignored": "bad",
    "underused": "warn",
    "balanced": "good",
    "at chance": "bad",
    "unclear": "none",
    "repaired": "good",
    "partly": "warn",
    "no": "bad",
    "nothing to repair": "none",
}
REPAIR = {"repaired": "repaired", "partly": "partly repaired", "no": "not repaired"}
MARKS = {"good": "✓", "warn": "!", "bad": "✗", "none": "?"}


@dataclass
class RunContent:
    """What is shown of one run, or of the runs of one method with several seeds.

    Attributes
    ----------
    name : str
        Unique in the page.
    runs : list of Run
        One for each seed.
    split : str
        Of the diagnosis.
    diagnoses : list of Diagnosis
        Of those runs that have one.
    diagnosis, verdict, comparison
        Of the mean over the seeds. None where there is nothing to make them of.
    problems : list of str
    lines : list of str
        What changed since the baseline, and what to do that was not said of an earlier run.
    """

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
        """What to call it in a sentence: its name, without the number of seeds."""
        return self.name.removesuffix(f" ({len(self.runs)} seeds)")

    def spread(self, key: str) -> str:
        """Return the standard deviation of a number of the diagnosis over the seeds, as a table shows it."""
        values = [getattr(each, key) for each in self.diagnoses]
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
        return f"No diagnostics{'' if self.run.finished else ': the run was not finished when this page was made'}."

    @property
    def badge(self) -> tuple[str, str, str]:
        """Text, kind and mark of its status."""
        if self.verdict is None or self.verdict.status == "unclear":
            return "unclear", "none", MARKS["none"]
        kind = KINDS[self.verdict.status]
        if self.verdict.status == "at chance":
            return "at chance", kind, MARKS[kind]
        uses = self.verdict.uses
        levels = {level: [name for name, use in uses.items() if use == level] for level in WORST_FIRST}
        texts = [f"{level}: {', '.join(names)}" for level, names in levels.items() if names]
        return "; ".join(texts) or "no modality ignored", kind, MARKS[kind]

    @property
    def repair_badge(self) -> tuple[str, str, str]:
        """Text, kind and mark of the comparison to the first run."""
        assert self.comparison is not None
        status, kind = self.comparison.status, KINDS[self.comparison.status]
        text = f"{REPAIR[status]}: {', '.join(self.comparison.repairs)}" if status in REPAIR else status
        return text, kind, MARKS[kind]


def trained_with_midas(run: Run) -> bool:
    """Return whether MIDAS trained a run: by what its criterion said, or its method, or its logging alpha."""
    said = [found["midas"] for found in run.diagnostics.values() if isinstance(found.get("midas"), bool)]
    method = run.config.get("method")
    if said:
        return bool(said[0])
    if method is not None:
        return "midas" in str(method).lower()
    return any(key.startswith("alpha_") for row in run.metrics for key in row)


def gather(runs: Sequence[Run], *, baseline: str | None = None, ask: bool = False) -> list[RunContent]:
    """Return what is shown of the runs: the baseline first, the others compared to it.

    Parameters
    ----------
    runs : sequence of Run
        Those of one method that differ in ``config["seed"]`` alone become one.
    baseline : str, optional
        The name of the run that the others are compared to. None takes joint training, or the only run that MIDAS did
        not train, or else the first.
    ask : bool
        Whether the first is not taken: where nothing tells, that is an error.

    Returns
    -------
    list of RunContent

    Raises
    ------
    midas_core.runs.RunError
        If there is no such baseline, or it has to be named.
    """
    groups = _by_method(runs)
    names = _unique([group[0].name if len(group) == 1 else _title(group) for group in groups])
    found = [RunContent(name, list(group)) for name, group in zip(names, groups, strict=True)]
    for content in found:
        _diagnose(content)
    first = _baseline(found, baseline, ask)
    found = [first, *(content for content in found if content is not first)]
    for content in found[1:]:
        if first.diagnosis is None or content.diagnosis is None:
            continue
        if first.diagnosis.names != content.diagnosis.names:
            content.problems.append(f"it has other modalities than {first.name}: not compared")
            continue
        if first.split != content.split:
            content.problems.append(
                f"its diagnostics are of {content.split} data, those of {first.name} of {first.split}"
            )
        spoken = first.spoken, content.spoken
        content.comparison = compare(first.diagnosis, content.diagnosis, names=spoken)
    said: set[str] = set()
    for content in found:
        content.lines += content.comparison.findings if content.comparison else ()
        advice = [] if content.verdict is None else [x for x in content.verdict.advice if x not in said]
        content.lines += advice
        said.update(advice)
    return found


def _by_method(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs, those of a method with several seeds together, in the order in which they come."""
    groups: dict[Any, list[Run]] = {}
    for i, run in enumerate(runs):
        method, seed = run.config.get("method"), run.config.get("seed")
        key: Any = (str(method), str(run.config.get("data")), run.modalities)
        known = groups.get(key, [])
        if method is None or seed is None or str(seed) in [str(each.config["seed"]) for each in known]:
            key = i  # by itself
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _title(group: Sequence[Run]) -> str:
    return printable(f"{group[0].config['method']} ({len(group)} seeds)")


def _baseline(found: Sequence[RunContent], name: str | None, ask: bool) -> RunContent:
    """Return the run that the others are compared to."""
    names = ", ".join(content.name for content in found)
    if name is not None:
        named = [content for content in found if name in (content.name, *(run.name for run in content.runs))]
        if not named:
            raise RunError(f"baseline: expected one of {names}, got {name!r}")
        return named[0]
    joint = [x for x in found if "joint" in (str(x.run.config.get("method")).lower(), x.run.name.lower())]
    others = [x for x in found if not trained_with_midas(x.run)]
    for candidates in (joint, others):
        if len(candidates) == 1:
            return candidates[0]
    if ask and len(found) > 1:
        raise RunError(f"which run are the others to be compared to? Name it with --baseline, one of {names}")
    return found[0]


def number(value: Any, digits: int = 1) -> str:
    """Return a share as percent for a table; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{100 * value:.{digits}f}"


def _diagnose(content: RunContent) -> None:
    """Read the diagnoses of the runs, those of one split, and judge their mean."""
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
    same = [each for each in content.diagnoses if each.names == content.diagnoses[0].names]
    if len(same) < len(content.diagnoses):
        content.problems.append("the diagnoses of some seeds are of other modalities: left out")
    content.diagnoses = same
    if same:
        content.diagnosis = average(same)
        content.verdict = verdict(content.diagnosis, trained_with_midas=trained_with_midas(content.run))


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        count, candidate = 1, name
        while candidate in found:
            count += 1
            candidate = f"{name} ({count})"
        found.append(candidate)
    return found
