"""The tables of the docs, from the results of the suite and from nothing else."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Mapping
from functools import cached_property, reduce
from statistics import fmean
from typing import Any

from benchmarks.suite_figures import Ranks, rank
from midas_core.compare.methods import BEST, METHODS
from midas_core.compare.result import BASELINE, MethodComparison
from midas_core.compare.statistics import Estimate, beyond_noise, estimate

KINDS = {True: "natural", False: "constructed"}
SMOOTHING, EVEN, EVEN_FINISH = "joint + label smoothing", "MIDAS (eta 0)", "MIDAS (eta 0) + finish"
SHORT = (
    *(BASELINE, SMOOTHING, "modality dropout", "late fusion"),
    *("MIDAS", EVEN, "MIDAS + finish", EVEN_FINISH, BEST),
)
"""Methods of the table in the README."""

PUBLISHED = ("OGM-GE", "MMPareto", "OPM", "AMCo", "SMV", "LFM", "MCR", "PowMix", "Data Remixing")
"""Methods of other papers about imbalanced modalities."""

Rows = list[list[str]]
"""The first row holds the headings."""


class TaskResults(MethodComparison):
    """The comparison on one task, from `compact`."""

    def values(self, method: str, *path: str) -> list[float]:
        """Return a measure of every run in percent, the test accuracy by default."""
        column = reduce(operator.getitem, path or ("accuracy",), self.content["methods"][method])
        return [100 * x for x in column if x is not None]

    def setting(self, method: str) -> tuple[float, float]:
        """Return learning rate and strength of most runs of a method."""
        column = self.content["methods"][method]
        return Counter(zip(column["learning_rate"], column["strength"], strict=True)).most_common(1)[0][0]


class SuiteResults:
    """Results of the suite as `kept` returns them; accuracies in percent."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self.all = {name: TaskResults(task) for name, task in content["tasks"].items()}

    def tasks(self, natural: bool | None = None) -> dict[str, TaskResults]:
        """Return the tasks of one kind, or all, by name."""
        return {name: task for name, task in self.all.items() if natural in (None, task.content["natural"])}

    def methods(self, natural: bool | None = None) -> list[str]:
        """Return the titles of the methods that ran on every task of one kind, or on all."""
        first, *others = [list(task.content["methods"]) for task in self.tasks(natural).values()]
        return [title for title in first if not title.endswith(" alone") and all(title in titles for titles in others)]

    def over_tasks(self, method: str, other: str = BASELINE, natural: bool | None = None) -> Estimate:
        """Return the mean difference over tasks of one kind, its interval over the tasks."""
        return estimate([task.difference(method, other).mean for task in self.tasks(natural).values()])

    def mean(self, method: str, measure: str, natural: bool) -> float:
        """Return a measure in percent, its mean over the runs and the tasks of one kind that have it."""
        tasks = [task for task in self.tasks(natural).values() if measure in task.content["methods"][method]]
        return fmean(task.mean(method, measure) for task in tasks)

    @cached_property
    def records(self) -> dict[tuple[str, bool], dict[str, tuple[int, int]]]:
        """By the other method and the kind of tasks: on how many every method is ahead of the other, and behind it."""
        return {(other, natural): self._record(other, natural) for other in (BASELINE, "MIDAS") for natural in KINDS}

    def _record(self, other: str, natural: bool) -> dict[str, tuple[int, int]]:
        """Return on how many tasks every method is ahead of another and behind it, beyond noise (Holm in each task)."""
        counts = {title: [0, 0] for title in self.methods(natural) if title != other}
        for task in self.tasks(natural).values():
            differences = {title: task.difference(title, other) for title in counts}
            for title, significant in beyond_noise(differences).items():
                counts[title][differences[title].mean < 0] += significant
        return {title: (won, lost) for title, (won, lost) in counts.items()}

    def ranks(self, natural: bool | None = None) -> Ranks:
        """Return the average ranks of the methods over tasks of one kind."""
        tasks = self.tasks(natural).values()
        return rank({title: [task.accuracies[title].mean for task in tasks] for title in self.methods(natural)})

    # The tables.

    def accuracy_rows(self, natural: bool) -> Rows:
        """Return the accuracy on each task, the mean over the tasks and the average rank; each modality alone first."""
        tasks, ranks = self.tasks(natural), self.ranks(natural)
        alone = [
            max(((task.accuracies[f"{m} alone"], m) for m in task.modalities), key=lambda pair: pair[0].mean)
            for task in tasks.values()
        ]
        best = [f"{accuracy} ({m})" for accuracy, m in alone]
        rows = [
            ["method", *tasks, "mean", "average rank"],
            ["best modality alone", *best, f"{fmean(accuracy.mean for accuracy, _ in alone):.1f}", ""],
        ]
        for title in self.methods(natural):
            cells = [task.accuracies[title] for task in tasks.values()]
            mean = fmean(accuracy.mean for accuracy in cells)
            rows.append([title, *map(str, cells), f"{mean:.1f}", f"{ranks.mean[title]:.1f}"])
        return rows

    def difference_rows(self, other: str, natural: bool) -> Rows:
        """Return every method less another, and on how many tasks it is ahead or behind beyond noise."""
        tasks = self.tasks(natural)
        rows = [[f"Δ vs. {other}", *tasks, "mean over tasks", "ahead : behind"]]
        for title, (won, lost) in self.records[other, natural].items():
            cells = [task.difference(title, other).signed for task in tasks.values()]
            rows.append([title, *cells, self.over_tasks(title, other, natural).signed, f"{won} : {lost}"])
        return rows

    def measure_rows(self, natural: bool) -> Rows:
        """Return every measure, its mean over the runs and the tasks."""
        head = ["accuracy", "at the last epoch", "macro-F1", "misaligned", "calibration error", "seconds"]
        rows = [["method", *head]]
        measures = ("accuracy", "last", "macro-F1", "misaligned accuracy", "calibration error")
        for title in self.methods(natural):
            # Of two classes no two predictions can be wrong: there is no misaligned accuracy.
            cells = [f"{self.mean(title, measure, natural):.1f}" for measure in measures]
            seconds = fmean(task.content["methods"][title]["seconds"] for task in self.tasks(natural).values())
            rows.append([title, *cells, f"{seconds:.2f}"])
        return rows

    def alone_rows(self, natural: bool) -> Rows:
        """Return the accuracy of each modality: trained by itself, and inside joint training, MIDAS and its finish."""
        titles = (BASELINE, SMOOTHING, "MIDAS", EVEN_FINISH)
        rows = [["task", "modality", "trained alone", *titles]]
        for name, task in self.tasks(natural).items():
            for m in task.modalities:
                inside = [f"{task.mean(title, 'alone', m):.1f}" for title in titles]
                rows.append([name, m, f"{task.mean(f'{m} alone'):.1f}", *inside])
        return rows

    def vote_rows(self) -> Rows:
        """Return the gain of the vote of fused and unimodal heads, weight 0.5, over the fused head, on each kind."""
        tasks = self.tasks().values()
        titles = [title for title in self.methods() if all("vote" in task.content["methods"][title] for task in tasks)]
        rows = [["method", *(f"{kind} tasks" for kind in KINDS.values())]]
        for title in titles:
            gains = (
                estimate([task.mean(title, "vote") - task.mean(title) for task in self.tasks(natural).values()])
                for natural in KINDS
            )
            rows.append([title, *(gain.signed for gain in gains)])
        return rows

    @cached_property
    def worst(self) -> str:
        """The task on which MIDAS is furthest behind joint training."""
        return min(self.all, key=lambda task: self.all[task].differences["MIDAS"].mean)

    def short_rows(self) -> Rows:
        """Return the comparison in a few rows, the task on which MIDAS loses first."""
        rows = [["Δ vs. joint", self.worst]]
        records = [self.records[BASELINE, natural] for natural in KINDS]
        ranks = [self.ranks(natural).mean for natural in KINDS]
        for kind in KINDS.values():
            rows[0] += [f"{kind} tasks, mean", "ahead : behind", "rank"]
        for title in (t for t in SHORT if t in self.methods() and t != BASELINE):
            cells = [self.all[self.worst].differences[title].signed]
            for natural, record, rank_of in zip(KINDS, records, ranks, strict=True):
                won, lost = record[title]
                cells += [self.over_tasks(title, natural=natural).signed, f"{won} : {lost}", f"{rank_of[title]:.1f}"]
            rows.append([title, *cells])
        return rows

    def short_legend(self) -> str:
        """Return what the short table shows, as a paragraph."""
        counts = [len(self.tasks(natural)) for natural in KINDS]
        noise = " and ".join(f"{self.ranks(natural).critical_difference:.1f}" for natural in KINDS)
        among = " and ".join(str(len(self.methods(natural))) for natural in KINDS)
        return (
            f"Test accuracy against joint training, in points: on {self.worst}, where MIDAS does worst, and on "
            f"average over {counts[0]} natural and {counts[1]} constructed tasks, with 95 % intervals; on how many "
            f"tasks a method is ahead of joint training or behind it beyond noise; its average rank among {among} "
            f"methods, where differences below {noise} ranks are noise."
        )

    def claims(self) -> str:
        """Return what the results say about when to take which method, with their numbers."""
        smooth, even, finish = SMOOTHING, EVEN, EVEN_FINISH
        memorised = [task for task in ("wide-left", "two-sensors") if task in self.all]

        def on(task: str, *titles: str) -> str:
            return f"{task}: " + ", ".join(f"{title} {self.all[task].differences[title].signed}" for title in titles)

        def over(title: str, other: str, natural: bool) -> str:
            won, lost = self.records[other, natural][title]
            mean = self.over_tasks(title, other, natural).signed
            return f"{mean} on average, ahead on {won} and behind on {lost} of {len(self.tasks(natural))}"

        def last(title: str) -> str:
            return f"{title} {self.mean(title, 'accuracy', True):.1f} and {self.mean(title, 'last', True):.1f}"

        apart = {
            kind: f"{over(smooth, BASELINE, natural)}; MIDAS {over('MIDAS', BASELINE, natural)}"
            for natural, kind in KINDS.items()
        }
        return "\n".join(
            [
                "- **Label smoothing costs nothing: try it first.** Against joint training, over the natural tasks: "
                f"label smoothing {apart['natural']}. Over the constructed ones: {apart['constructed']}.",
                *(
                    ["- **MixUp of the features too.** Over the natural tasks " + over("MixUp", BASELINE, True) + "."]
                    if "MixUp" in self.methods(True)
                    else []
                ),
                f"- **Other published methods.** {self.rivals()}",
                "- **A modality is memorised or drowned: MIDAS.** Against joint training: "
                + "; ".join(on(task, smooth, "modality dropout", "MIDAS") for task in memorised)
                + ".",
                "- **One modality really is worse: set `eta=0`.** The weak-modality weight raises it. Against joint "
                f"training, {on(self.worst, smooth, 'MIDAS', even, finish)}.",
                f"- **`eta=0` everywhere?** Against MIDAS, over the natural tasks {over(even, 'MIDAS', True)}; over "
                f"the constructed ones {over(even, 'MIDAS', False)}.",
                "- **The aligned finish costs nothing.** With `eta=0`, against MIDAS, over "
                f"the natural tasks {over(finish, 'MIDAS', True)}; over the constructed ones "
                f"{over(finish, 'MIDAS', False)}.",
                "- **Probabilities that mean something: MIDAS.** Calibration error in percent over the natural tasks: "
                + ", ".join(f"{title} {self.calibration(title)}" for title in (BASELINE, smooth, "MIDAS", finish))
                + ".",
                "- **Keep the best validation epoch.** Mean accuracy over the natural tasks with it, and at the last "
                f"epoch: {last(BASELINE)}, {last(smooth)}, {last('MIDAS')}, {last(finish)}.",
                "- **Not sure: train both.** Joint training or MIDAS, whichever is better on validation data, over the "
                f"natural tasks, against joint training: {over(BEST, BASELINE, True)}.",
            ]
        )

    def rivals(self) -> str:
        """Return the mean accuracy of MIDAS, and of the most accurate methods of other papers."""
        sentences = []
        for natural, kind in KINDS.items():
            means = {t: self.mean(t, "accuracy", natural) for t in self.methods(natural) if t in PUBLISHED}
            best = sorted(means, key=lambda title: -means[title])[:3]
            listed = ", ".join(f"{t} {self.mean(t, 'accuracy', natural):.1f}" for t in ("MIDAS", EVEN, *best))
            sentences.append(f"Mean accuracy over the {kind} tasks: {listed}.")
        return " ".join(sentences)

    def calibration(self, title: str) -> str:
        """Return a method's mean calibration error over the natural tasks, in percent."""
        return f"{self.mean(title, 'calibration error', True):.1f}"

    def in_a_sentence(self) -> str:
        """Return what the short table says."""
        drowned = ""
        if task := self.all.get("wide-left"):
            gains = (task.differences[title].signed for title in ("MIDAS", SMOOTHING))
            drowned = f" (wide-left: {' against '.join(gains)})"
        return (
            "On natural data label smoothing, one argument of the loss, does as well on average"
            + (" (so does MixUp of the features)" if "MixUp" in self.methods(True) else "")
            + ". MIDAS is ahead where "
            f"a modality is memorised or drowned{drowned}, and its probabilities are better calibrated: on the natural "
            f"tasks an error of {self.calibration('MIDAS')} %, label smoothing {self.calibration(SMOOTHING)}, joint "
            f"training {self.calibration(BASELINE)}."
        )

    def setting_rows(self) -> Rows:
        """Return the learning rate and the strength that most runs were trained with."""
        rows = [["method", *self.all]]
        for title in self.methods():
            cells = []
            for task in self.all.values():
                rate, strength = task.setting(title)
                tuned = title in METHODS and METHODS[title].strengths
                cells.append(f"{rate:g}, {strength:g}" if tuned else f"{rate:g}")
            rows.append([title, *cells])
        return rows

    def task_rows(self) -> Rows:
        """Return what the tasks are."""
        rows = [["task", "what it is", "classes", "training, validation, test", "runs", "test parts", "epochs"]]
        for name, task in self.content["tasks"].items():
            sizes = ", ".join(f"{task['sizes'][part]:,}" for part in ("training", "validation", "test"))
            runs = len(task["methods"][BASELINE]["accuracy"])
            numbers = [str(x) for x in (runs, task["splits"], task["recipe"]["epochs"])]
            rows.append([name, task["title"], str(task["classes"]), sizes, *numbers])
        return rows

    def render(self) -> dict[str, str]:
        """Return the tables as Markdown, by the name of their place in the docs."""
        tables = {
            "tasks": self.task_rows(),
            "vote": self.vote_rows(),
            "settings": self.setting_rows(),
        }
        for natural, kind in KINDS.items():
            tables |= {
                f"accuracy {kind}": self.accuracy_rows(natural),
                f"versus joint {kind}": self.difference_rows(BASELINE, natural),
                f"versus MIDAS {kind}": self.difference_rows("MIDAS", natural),
                f"measures {kind}": self.measure_rows(natural),
                f"alone {kind}": self.alone_rows(natural),
            }
        texts = {name: markdown(rows) for name, rows in tables.items()}
        return {
            **texts,
            "claims": self.claims(),
            "short": f"{self.short_legend()}\n\n{markdown(self.short_rows())}\n\n{self.in_a_sentence()}",
            **{f"ranks {kind}": ranks_in_words(self.ranks(n)) for n, kind in KINDS.items()},
            "made with": self._made_with(),
        }

    def _made_with(self) -> str:
        machine = self.content["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in self.content["versions"].items())
        return f"On {machine['processor']}, {machine['cores']} cores, one of them used. With {versions}."


def ranks_in_words(ranks: Ranks) -> str:
    """Return average ranks, the critical difference and Friedman's test as sentences."""
    order = ", ".join(f"{title} {mean:.1f}" for title, mean in ranks.mean.items())
    if math.isnan(ranks.p_value):
        return f"Average rank by accuracy: {order}."
    return (
        f"Average rank by accuracy: {order}. Differences below {ranks.critical_difference:.1f} ranks are noise "
        f"(Nemenyi, 5 %); Friedman's test that all methods are alike: p = {ranks.p_value:.1g}."
    )


def markdown(rows: Rows) -> str:
    """Return a table as Markdown."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))
