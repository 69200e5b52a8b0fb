"""The result of a comparison: accuracies, differences, and what they say in words."""

from __future__ import annotations

import json
from collections import ChainMap, Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from midas_core.compare.methods import BEST, find_method
from midas_core.compare.statistics import LEVEL, Estimate, beyond_noise, estimate
from midas_core.files import finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

BASELINE = "joint"
IGNORED, UNDERUSED = 1.0, 10.0
"""Points of accuracy: less than the first lost without a modality, more than the second not got out of it."""
UNEVEN = 20.0
"""Points by which the largest class exceeds an even share, from which it is told."""
DISAGREEMENT = 5.0
"""Points between validation and test accuracy that are told."""


@dataclass(frozen=True, eq=False)
class MethodComparison:
    """The methods of a comparison on one task. Accuracies are in percent.

    Parameters
    ----------
    content : dict
        Numbers, text and lists, as `to_json` writes them: what the task is, and every run of every method.
    """

    content: dict[str, Any]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(self.content["modalities"])

    def values(self, method: str, *path: str) -> list[float]:
        """Return a measure of every run of a method in percent, of its test or of its training: the test accuracy."""
        values = []
        for run in self.content["methods"][method]:
            value: Any = ChainMap(run["test"], run)
            for name in path or ("accuracy",):
                value = value[name]
            values.append(100 * float(value))
        return values

    def mean(self, method: str, *path: str) -> float:
        """Return the mean of a measure over the runs, in percent."""
        return fmean(self.values(method, *path))

    @cached_property
    def accuracies(self) -> dict[str, Estimate]:
        """Test accuracy of every method, with the 95 % interval over the runs."""
        return {title: estimate(self.values(title), self.content["splits"]) for title in self.content["methods"]}

    def difference(self, method: str, other: str = BASELINE) -> Estimate:
        """Return the difference of two methods in test accuracy, run by run."""
        pairs = zip(self.values(method), self.values(other), strict=True)
        return estimate([a - b for a, b in pairs], self.content["splits"])

    @cached_property
    def differences(self) -> dict[str, Estimate]:
        """Difference of every method to joint training in test accuracy."""
        return {title: self.difference(title) for title in self.content["methods"] if title != BASELINE}

    @cached_property
    def ahead(self) -> tuple[str, ...]:
        """Methods that are ahead of joint training beyond noise (Holm over all of them), the furthest first."""
        rivals = {title: d for title, d in self.differences.items() if not title.endswith(" alone")}
        ahead = [title for title, significant in beyond_noise(rivals).items() if significant and rivals[title].mean > 0]
        return tuple(sorted(ahead, key=lambda title: -rivals[title].mean))

    @cached_property
    def best(self) -> str:
        """The method to take: joint training where none is ahead of it, else the simplest that is as good as any.

        A modality alone, where it is ahead of joint training beyond noise and no method is ahead of it.
        """
        best = self.ahead[0] if self.ahead else BASELINE
        for title in self.ahead:
            if self._is_simple(title) and not self._behind(title, best):
                best = title
                break
        alone = {f"{name} alone": self.differences[f"{name} alone"] for name in self.modalities}
        first = max(alone, key=lambda title: alone[title].mean)
        is_ahead = beyond_noise(alone)[first] and alone[first].mean > 0
        return first if is_ahead and not self._behind(first, best) else best

    def sentences(self) -> list[str]:
        """Return the answer in words, then what else is worth knowing of these data."""
        notes = list(self.content.get("notes", ()))
        if len(self.values(BASELINE)) < 2:
            notes.insert(0, "One run of each method does not tell a difference from noise: take more with --seeds.")
        if self._chance - 100 / self.content["classes"] > UNEVEN:
            notes.insert(
                0,
                f"The largest class makes up {self._chance:.1f} % of the test samples: accuracy says little about the "
                "other classes, macro-F1 weighs all alike.",
            )
        if not any(accuracy.lower > self._chance for accuracy in self.accuracies.values()):
            return [self._no_signal(), *notes]
        return [self._answer(), *self._modalities(), *self._validation(), *notes]

    def rows(self) -> list[list[str]]:
        """Return the table: a heading, then a row for each method, the most accurate first."""
        rows = [["method", "accuracy", "Δ vs. joint", "macro-F1", "calibration error", "misaligned", "seconds"]]
        for title in sorted(self.accuracies, key=lambda title: -self.accuracies[title].mean):
            difference = "" if title == BASELINE else self.differences[title].signed
            first = self.content["methods"][title][0]["test"]
            measures = [
                "" if first.get(measure) is None else f"{self.mean(title, measure):.1f}"
                for measure in ("macro-F1", "calibration error", "misaligned accuracy")
            ]
            difference += " *" if title in self.ahead else ""
            seconds = f"{self.mean(title, 'seconds') / 100:.2f}"
            rows.append([title, str(self.accuracies[title]), difference, *measures, seconds])
        return rows

    def table(self) -> Table:
        """Return the table for a terminal."""
        from rich.table import Table

        runs = len(self.content["methods"][BASELINE])
        over = f"{runs} runs" + (f" over {self.content['splits']} splits" if self.content["splits"] > 1 else "")
        table = Table(
            title=f"Test accuracy in percent, mean ± half the 95 % interval, {over}; * ahead of joint beyond noise",
            title_justify="left",
        )
        head, *body = self.rows()
        for i, column in enumerate(head):
            table.add_column(column, justify="right" if i else "left")
        for row in body:
            table.add_row(*row, style="bold" if row[0] == self.best else None)
        return table

    def plot(self) -> Figure:
        """Draw the accuracy of every method, with its interval."""
        from midas_core.compare.figures import accuracy_figure

        return accuracy_figure(self)

    def report(self, path: str | Path) -> Path:
        """Write one HTML page, as ``midas report`` does, with the runs of every method."""
        from midas_core.compare.runs import write_runs
        from midas_core.report import write_report

        with TemporaryDirectory() as folder:
            write_runs(self, Path(folder))
            return Path(write_report([folder], path, title=self.sentences()[0], baseline=BASELINE))

    def to_json(self) -> str:
        """Return JSON text that `from_json` reads."""
        return json.dumps(finite(self.content), allow_nan=False)

    @staticmethod
    def from_json(text: str) -> MethodComparison:
        """Return the result that `to_json` wrote."""
        return MethodComparison(json.loads(text))

    def setting(self, method: str) -> tuple[float, float]:
        """Return learning rate and strength of most runs of a method."""
        settings = Counter(tuple(run["setting"][1:]) for run in self.content["methods"][method])
        rate, strength = settings.most_common(1)[0][0]
        return rate, strength

    def _is_simple(self, title: str) -> bool:
        return title != BEST and find_method(title, self.modalities).simple

    def _behind(self, title: str, other: str) -> bool:
        """Whether a method is behind another beyond noise."""
        difference = self.difference(title, other)
        return difference.mean < 0 and difference.p_value < LEVEL

    def _call(self, title: str) -> str:
        """Return how to get a method, as the end of a sentence."""
        if title == BEST:
            return "Train both, and take the one with the better validation accuracy."
        call = find_method(title, self.modalities).call.format(strength=self.setting(title)[1])
        return f"Take {call or title}."

    @property
    def _chance(self) -> float:
        """Share of the largest class in the test samples, in percent."""
        return 100 * float(self.content["chance"])

    def _no_signal(self) -> str:
        scores = {title: self.mean(title, "macro-F1") for title in self.accuracies}
        best = max(scores, key=lambda title: scores[title])
        share = self.content["chance"]
        always = 100 * 2 * share / (1 + share) / self.content["classes"]
        return (
            f"No method is above {self._chance:.1f}, the share of the largest class, beyond noise: in accuracy these "
            f"models find nothing that tells the classes apart. The best macro-F1 is {scores[best]:.1f} ({best}); "
            f"always saying the largest class reaches {always:.1f}."
        )

    def _answer(self) -> str:
        joint, best = self.accuracies[BASELINE], self.best
        if best == BASELINE:
            rivals = [title for title in self.differences if not title.endswith(" alone")]
            if not rivals:
                return f"Joint training: {joint}."
            nearest = max(rivals, key=lambda title: self.differences[title].mean)
            return (
                f"No method is ahead of joint training ({joint}) beyond noise: keep it. "
                f"The best of the others, {nearest}: {self.differences[nearest].signed}."
            )
        answer = f"{best} {self.accuracies[best]}, joint {joint}: {self.differences[best].signed}, beyond noise"
        if best.endswith(" alone"):
            rest = ", ".join(name for name in self.modalities if f"{name} alone" != best)
            return f"{answer}, and no method is ahead of it. Leave {rest} out."
        answer += f". {self._call(best)}"
        if best != (furthest := self.ahead[0]):
            answer += f" {furthest} ({self.differences[furthest].signed}) is no better beyond noise, and less simple."
        return answer

    def _modalities(self) -> list[str]:
        """Return which modality joint training ignores, or uses in part."""
        sentences = [sentence for name in self.modalities if (sentence := self._modality(name))]
        alone = max((f"{name} alone" for name in self.modalities), key=lambda title: self.accuracies[title].mean)
        if alone != self.best and self.accuracies[alone].mean >= self.accuracies[BASELINE].mean:
            sentences.append(f"A model of {alone} reaches {self.accuracies[alone]}, no less than joint training.")
        return sentences

    def _modality(self, name: str) -> str:
        alone = self.accuracies[f"{name} alone"]
        if alone.lower <= self._chance + 1:
            return (
                f"{name} is not shown to tell the classes apart: a model of {name} alone reaches {alone}, the largest "
                f"class makes up {self._chance:.1f}."
            )
        pairs = zip(self.values(BASELINE, "without", name), self.values(BASELINE), strict=True)
        change = estimate([without - joint for without, joint in pairs], self.content["splits"])
        if change.mean > -IGNORED:
            return (
                f"Joint training ignores {name}: without it, accuracy changes by {change.signed} points; a model of "
                f"{name} alone reaches {alone}."
            )
        inside = self.mean(BASELINE, "alone", name)
        if alone.mean - inside > UNDERUSED:
            return (
                f"Joint training uses {name} in part: from it alone the joint model gets {inside:.1f} % right, a model "
                f"of {name} alone {alone}."
            )
        return ""

    def _validation(self) -> list[str]:
        """Return where validation and test data disagree."""
        titles = [title for title in self.accuracies if not title.endswith(" alone")]
        validated = {title: self.mean(title, "validation_accuracy") for title in titles}
        first = max(titles, key=lambda title: validated[title])
        sentences = []
        if self.best != first and self._behind(first, self.best):
            sentences.append(
                f"Validation and test disagree: {first} is the best on validation data, and on test data "
                f"{self.difference(first, self.best).signed} against {self.best}."
            )
        gap = validated[BASELINE] - self.accuracies[BASELINE].mean
        if gap > DISAGREEMENT:
            sentences.append(
                f"Joint training reaches {validated[BASELINE]:.1f} on validation data and "
                f"{self.accuracies[BASELINE].mean:.1f} on test data: they are of different kinds, or few."
            )
        return sentences
