"""The report: one page that stands alone, whatever the runs hold."""

import copy
import json
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner

from midas_core.cli.main import main
from midas_core.diagnostics import Diagnosis, diagnose
from midas_core.diagnostics.plots import METHODS, MODALITIES, PLAIN, plot_history, plot_similarity
from midas_core.report import headlines, render_report, write_report
from midas_core.report.content import gather, shown, trained_with_midas
from midas_core.runs import RunError, RunLogger, read_run
from midas_core.runs.folder import find_runs

NAMES = ["audio", "image"]
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """The elements of a page, each with its attributes and text; fails where a tag is left open."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data):
        for i in self.open:
            self.elements[i][2].append(data)

    def all(self, *tags):
        return [(attributes, "".join(text)) for tag, attributes, text in self.elements if tag in tags]

    @property
    def text(self):
        return " ".join(self.all("body")[0][1].split())


def write_run(folder, *, ignore=True, finish=True, names=NAMES, config=None, seed=0, **options):
    """Write a run whose model listens to the second modality only, or to both."""
    rng = np.random.default_rng(seed)
    labels = np.arange(300) % 5
    views = [np.eye(5)[labels] + 0.3 * rng.normal(size=(300, 5)) for _ in names]
    weights = [(0.0 if ignore and m == 0 else 1.0) * np.eye(5) for m in range(len(names))]
    log = RunLogger(folder, modalities=names, config=config or {"method": "joint" if ignore else "MIDAS"}, **options)
    for epoch in range(3):
        log.log(epoch=epoch, loss=1.0, val_accuracy=0.5, val_misaligned_accuracy=0.2, alpha=[1.0 + epoch] * len(names))
        shares = [1 / len(names)] * len(names)
        log.log(epoch=epoch, prefix="val_", confidence=shares, fused_confidence=shares)
    found = diagnose(lambda x: 8 * x @ np.concatenate(weights), views, labels, num_classes=5, modalities=names)
    log.log_diagnostics(found)
    if finish:
        log.close()
    else:
        log.__exit__(KeyboardInterrupt, None, None)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return write_run(folder / "joint"), write_run(folder / "midas", ignore=False)


@pytest.fixture(scope="module")
def page(runs):
    return render_report(runs)


def test_it_says_what_is_ignored_and_what_changed(page):
    text = Page(page).text
    assert "The model largely ignores audio" in text
    assert "midas repairs the use of audio" in text
    for words in ("Better: aligned accuracy +", "Misaligned accuracy:", "Shapley value", "class by class"):
        assert words in text


def test_who_has_tried_midas_is_not_told_to_try_it(page, runs):
    advice = "Start with MidasLoss(weight=2)"
    assert advice in Page(render_report(runs[:1])).text
    text = Page(page).text
    assert advice not in text
    assert "midas compare" not in text
    assert "leave weight and warm-up as they are" in text


def test_the_misaligned_accuracy_has_one_interval(runs):
    joint, midas = gather([read_run(run) for run in runs])
    (fact,) = [note for name, _, note in midas.facts if name == "misaligned"]
    low, high = midas.diagnosis.misaligned_interval
    assert fact.startswith(f"95 %: {100 * low:.1f} to {100 * high:.1f}, chance")
    halves = [(x.diagnosis.misaligned_interval[1] - x.diagnosis.misaligned_interval[0]) / 2 for x in (joint, midas)]
    assert f"± {100 * np.hypot(*halves):.1f}" in next(x for x in midas.lines if x.startswith("Misaligned accuracy"))


def test_the_answer_in_one_line_each(runs):
    joint, midas = headlines(runs)
    assert joint.startswith("joint: The model largely ignores audio")
    assert midas.startswith("midas: midas repairs the use of audio")


def test_it_needs_no_network_and_no_script(page):
    parsed = Page(page)
    assert "script" not in {tag for tag, _, _ in parsed.elements}
    for _, attributes, _ in parsed.elements:
        for key in ("src", "href", "action", "data", "srcset"):
            assert attributes.get(key, "#").startswith("#")
        assert not any(key.startswith("on") for key in attributes)
    assert not re.search(r"@import|url\((?!#)", page)
    assert len(page.encode()) < 300_000


def test_it_is_accessible(page):
    parsed = Page(page)
    assert parsed.all("html")[0][0]["lang"] == "en"
    assert [len(parsed.all(tag)) for tag in ("h1", "main", "title")] == [1, 1, 1]
    levels = [int(tag[1]) for tag, _, _ in parsed.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in pairwise(levels))
    pictures = parsed.all("svg")
    assert len(pictures) == 2 * 7 + 1
    for attributes, _ in pictures:
        assert attributes["role"] == "img"
        assert re.search(r"\d", attributes["aria-label"])
    tables = parsed.all("table")
    assert len(parsed.all("caption")) == len(tables)
    assert {attributes.get("scope") for attributes, _ in parsed.all("th")} == {"row", "col"}
    regions = [attributes for attributes, _ in parsed.all("div") if attributes.get("class") == "scroll"]
    assert len(regions) == len(tables)
    assert all(each["tabindex"] == "0" and each["role"] == "region" and each["aria-label"] for each in regions)
    ids = [attributes["id"] for _, attributes, _ in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes, _ in parsed.all("a", "use"):
        assert attributes["href"][1:] in ids
    for match in re.findall(r'(?:labelledby="|url\(#)([^")]+)', page):
        assert match in ids


def test_the_figures_take_the_colours_of_the_page(page):
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ET.fromstring(svg)
        assert not re.search(r"#[0-9a-f]{6}", svg)
    used, defined = set(re.findall(r"var\(--(\w+)\)", page)), set(re.findall(r"--([\w-]+):", page))
    assert used <= defined
    assert "prefers-color-scheme: dark" in page


def test_names_are_text(tmp_path):
    bad = ["<script>alert(1)</script>", "a$b$_c & d"]
    text = render_report([write_run(tmp_path / "x", names=bad, name="<b>run</b>", class_names=None)])
    parsed = Page(text)
    assert not parsed.all("script")
    assert "<b>run</b>" in parsed.text
    assert bad[0] in parsed.text
    assert bad[1] in parsed.text


def test_a_run_cut_off_is_still_shown(tmp_path):
    folder = write_run(tmp_path / "cut", finish=False)
    metrics = folder / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-30])
    diagnostics = folder / "diagnostics.json"
    diagnostics.write_bytes(diagnostics.read_bytes()[:-100])
    text = Page(render_report([folder])).text
    assert "line 6 of metrics.jsonl is cut off: skipped" in text
    assert "diagnostics.json could not be read" in text
    assert "No diagnostics: the run was not finished" in text
    assert "Accuracy over training" in text
    diagnostics.write_text('{"test": {"accuracy": 1}}')
    assert "diagnostics of test could not be read" in Page(render_report([folder])).text


def leaves(value, path=()):
    """Yield the place of everything inside of nested dicts and lists; of a list only its first item."""
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else []
    for key, inner in items:
        yield (*path, key)
        yield from leaves(inner, (*path, key))


@pytest.mark.parametrize("file", ["run.json", "diagnostics.json"])
def test_whatever_is_wrong_in_a_file_the_page_is_made_or_the_error_says_why(tmp_path, runs, file):
    folder = shutil.copytree(runs[0], tmp_path / "run")
    whole = json.loads((folder / file).read_text())
    for place in leaves(whole):
        for wrong in (None, "x", 3, [], {}, ["x"]):
            content = copy.deepcopy(whole)
            inner = content
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = wrong
            (folder / file).write_text(json.dumps(content))
            try:
                gather([read_run(folder)])
            except RunError as error:
                assert "run.json" in str(error)  # noqa: PT017


def test_runs_of_other_modalities_are_not_compared(tmp_path, runs):
    other = write_run(tmp_path / "other", names=["left", "middle", "right"])
    _, second = gather([read_run(runs[0]), read_run(other)])
    assert second.comparison is None
    assert second.problems == ["it has other modalities than joint: not compared"]


def test_runs_of_the_same_name_are_told_apart(runs):
    run = read_run(runs[0])
    assert [content.name for content in gather([run, run, run])] == ["joint", "joint (2)", "joint (3)"]


def test_joint_training_is_the_baseline_wherever_it_stands(runs):
    joint, midas = map(read_run, runs)
    for given in ([joint, midas], [midas, joint]):
        contents = gather(given)
        assert [content.name for content in contents] == ["joint", "midas"]
        assert contents[0].comparison is None
        assert contents[1].comparison.status == "repaired"
    assert [c.name for c in gather([joint, midas], baseline="midas")] == ["midas", "joint"]
    with pytest.raises(RunError, match="baseline: expected one of joint, midas, got 'x'"):
        gather([joint, midas], baseline="x")


def test_the_only_run_without_midas_is_the_baseline(runs):
    joint, midas = map(read_run, runs)
    plain = replace(joint, name="late", config={"method": "late"})
    assert gather([midas, plain])[0].name == "late"
    other = replace(plain, name="dropout", config={"method": "dropout"})
    assert gather([midas, plain, other])[0].name == "midas"  # as named
    with pytest.raises(RunError, match="Name it with --baseline, one of midas, late, dropout"):
        gather([midas, plain, other], ask=True)


def test_the_criterion_says_whether_midas_trained(runs):
    joint = read_run(runs[0])
    assert not trained_with_midas(joint)
    told = replace(joint, diagnostics={"validation": {**joint.diagnostics["validation"], "midas": True}})
    assert trained_with_midas(told)
    assert "twice the weight" in str(gather([told])[0].verdict)
    silent = replace(joint, config={})
    assert trained_with_midas(silent)  # it logs alpha
    assert not trained_with_midas(replace(silent, metrics=()))
    midas = read_run(runs[1])
    denied = replace(midas, diagnostics={"validation": {**midas.diagnostics["validation"], "midas": False}})
    assert not trained_with_midas(denied)


def test_a_folder_of_runs(tmp_path, runs):
    for name, folder in zip(("z-joint", "a-midas"), runs, strict=True):
        shutil.copytree(folder, tmp_path / "runs" / "deeper" / name)
    (tmp_path / "runs" / ".hidden").mkdir()
    (tmp_path / "runs" / "loop").symlink_to(tmp_path / "runs")
    result = CliRunner().invoke(main, ["report", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0].startswith("joint: The model largely ignores audio")
    assert result.output.splitlines()[1].startswith("midas: midas repairs the use of audio")
    assert (tmp_path / "runs" / "report.html").exists()
    with pytest.raises(RunError, match="or a folder of such folders, found none"):
        find_runs(tmp_path / "runs" / ".hidden")


def test_several_seeds_of_a_method_are_one(tmp_path):
    for method, ignore in (("joint", True), ("MIDAS", False)):
        for seed in (0, 1):
            write_run(tmp_path / f"{method}{seed}", ignore=ignore, seed=seed, config={"method": method, "seed": seed})
    contents = gather([read_run(folder) for folder in sorted(tmp_path.iterdir())])
    assert [content.name for content in contents] == ["joint (2 seeds)", "MIDAS (2 seeds)"]
    first = contents[0]
    accuracies = [each.accuracy for each in first.diagnoses]
    assert first.diagnosis.accuracy == pytest.approx(np.mean(accuracies))
    assert accuracies[0] != accuracies[1]
    assert first.diagnosis.kept == 300
    assert first.spread("accuracy") == f" ± {100 * np.std(accuracies, ddof=1):.1f}"
    text = Page(render_report([tmp_path])).text
    assert f"{100 * np.mean(accuracies):.1f} ± " in text
    assert "MIDAS repairs the use of audio" in text
    assert "joint0" in text
    # The same seed twice is no other seed.
    again = write_run(tmp_path / "again", config={"method": "joint", "seed": 0})
    assert len(gather([read_run(again), read_run(tmp_path / "joint0"), read_run(tmp_path / "joint1")])) == 2


def test_curves_of_one_quantity_lie_over_each_other(page):
    for title, pictures in (("Accuracy over training", 2), ("Confidence over training", 2), ("Alpha over training", 2)):
        section = page[page.index(f">{title}</h2>") :]
        section = section[: section.index("</section>")]
        assert section.count("<figure") == pictures
        for svg in re.findall(r"<svg.*?</svg>", section, flags=re.DOTALL):
            assert ">joint<" in svg
            assert ">midas<" in svg


def test_every_modality_has_one_mark(runs):
    joint, midas = gather([read_run(run) for run in runs])
    assert joint.badges == [("audio: ignored", "bad"), ("image: used", "good")]
    assert midas.badges == [("audio: repaired", "good"), ("image: used", "good")]
    uses = {"a": "underused", "b": "ignored", "c": "used", "d": "overruled"}
    repairs = {"a": "no", "b": "partly"}
    mixed = replace(
        midas, verdict=replace(midas.verdict, uses=uses), comparison=replace(midas.comparison, repairs=repairs)
    )
    assert [badge.text for badge in mixed.badges] == [
        "a: not repaired",
        "b: partly repaired",
        "c: used",
        "d: overruled",
    ]
    assert [badge.mark for badge in mixed.badges] == ["✗", "!", "✓", "!"]


def test_modalities_and_runs_share_no_colour(runs):
    assert not set(METHODS) & set(MODALITIES)
    loaded = {str(i): [read_run(runs[0])] for i in range(4)}
    lines = plot_history(loaded, {"accuracy": "-"}, label="accuracy (%)").axes[0].lines
    assert [line.get_color() for line in lines] == [PLAIN, *METHODS[:3]]


def test_many_methods_have_cards_of_the_best(runs):
    joint, midas = map(read_run, runs)
    found = joint.diagnostics["validation"]
    others = []
    for i in range(10):
        diagnostics = {"validation": {**found, "accuracy": 0.5 + 0.01 * i, "midas": False}}
        others.append(replace(joint, name=f"method {i}", config={"method": f"method {i}"}, diagnostics=diagnostics))
    contents = gather([*others, midas, joint])
    assert [x.name for x in shown(contents)] == ["joint", *(f"method {i}" for i in range(4, 10)), "midas"]
    parsed = Page(render_report([*others, midas, joint]))
    assert len([x for x, _ in parsed.all("article")]) == 8
    assert "4 more runs are in the tables" in parsed.text
    assert parsed.text.count("method 0") > 1


def test_uneven_classes_are_shown_by_their_recall(tmp_path):
    labels = np.repeat([0, 1], [380, 20])
    views = [np.eye(2)[labels] + 0.1 * np.random.default_rng(0).normal(size=(400, 2)) for _ in NAMES]
    with RunLogger(tmp_path, modalities=NAMES, name="joint") as log:
        log.log(epoch=0, loss=1.0)
        log.log_diagnostics(diagnose(lambda x: x[:, 2:], views, labels, num_classes=2, modalities=NAMES))
    (content,) = gather([read_run(tmp_path)])
    assert ("mean recall", "100.0 %", "averaged over classes, which are uneven") in content.facts
    assert ("audio alone", "50.0 %", "mean recall") in content.facts
    text = Page(render_report([tmp_path])).text
    assert "Classes are uneven (the most frequent makes 95 %)" in text
    assert "mean recall (%)" in text


def test_a_finished_run_with_nothing_in_it_says_so(tmp_path):
    RunLogger(tmp_path, modalities=NAMES).close()
    text = Page(render_report([tmp_path])).text
    assert "No diagnostics, and nothing was logged." in text
    assert "the run finished without a line of metrics" in text


def test_a_model_at_chance_is_badged(runs):
    run = read_run(runs[0])
    found = {**run.diagnostics["validation"], "accuracy": 0.2, "classes": []}
    first, second = gather([replace(run, diagnostics={"validation": found}), replace(run, name="joint 2")])
    assert first.badges == [("at chance", "bad")]
    assert second.comparison.status == "unclear"
    assert "The fused model is at chance" in Page(render_report([first.run])).text


def test_alpha_has_one_axis_for_all_modalities(tmp_path):
    with RunLogger(tmp_path / "run", modalities=NAMES) as log:
        for epoch in range(3):
            log.log(epoch=epoch, alpha=[1.0 + epoch, 1.0])
    runs = {"run": [read_run(tmp_path / "run")]}
    tops = [
        plot_history(runs, {f"alpha_{name}": "-"}, label="alpha", share=False, top=4).axes[0].get_ylim()[1]
        for name in NAMES
    ]
    assert tops == [4, 4]
    page = render_report([tmp_path / "run"])
    section = page[page.index(">Alpha over training</h2>") :]
    ticks = [re.findall(r">([\d.]+)</text>", svg) for svg in re.findall(r"<svg.*?</svg>", section, flags=re.DOTALL)[:2]]
    assert ticks[0] == ticks[1]


def test_seeds_are_drawn_as_mean_and_band(tmp_path):
    for seed, values in enumerate(([0.2, 0.4, 0.6], [0.4, 0.8])):
        with RunLogger(tmp_path / str(seed), modalities=NAMES) as log:
            for epoch, value in enumerate(values):
                log.log(epoch=epoch, val_accuracy=value)
    runs = [read_run(tmp_path / str(seed)) for seed in (0, 1)]
    axis = plot_history({"both": runs}, {"accuracy": "-"}, label="accuracy (%)").axes[0]
    (line,) = axis.lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 30], [1, 60]])
    (band,) = axis.collections
    np.testing.assert_allclose(band.get_datalim(axis.transData).get_points()[:, 1], [20, 80])
    assert plot_history({"both": runs}, {"loss": "-"}, label="loss") is None


def test_pictures_side_by_side_have_the_same_axes(runs):
    one, other = (Diagnosis.from_dict(read_run(run).diagnostics["validation"]) for run in runs)
    narrow = replace(
        one, modalities=tuple(replace(x, similarity=(0,) * 39 + (sum(x.similarity),)) for x in one.modalities)
    )
    axes = [
        figure.axes[0] for figure in (plot_similarity(narrow, beside=[other]), plot_similarity(other, beside=[narrow]))
    ]
    assert axes[0].get_xlim() == axes[1].get_xlim() == (-1, 1)
    assert axes[0].get_ylim() == axes[1].get_ylim() == (0, 105)


def test_names_of_runs_are_not_cut_in_figures(tmp_path, runs):
    names = ["lr=0.0001", "lr=0.00001", "MIDAS with a long name, weight=5, lr=0.00012345"]
    text = render_report([replace(read_run(runs[0]), name=name) for name in names])
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    words = {word for text in re.findall(r"<text[^>]*>(.*?)</text>", drawn) for word in text.split()}
    assert {word for name in names for word in name.split()} <= words
    # Coordinates are still rounded to a hundredth.
    tags = re.sub(r'aria-label="[^"]*"', "", "".join(re.findall(r"<[^>]+>", drawn)))
    assert not re.search(r"\d\.\d{3}", tags)


def test_hostile_runs_end_in_a_page_or_a_message(tmp_path, runs):
    folder = shutil.copytree(runs[0], tmp_path / "run")
    whole = json.loads((folder / "diagnostics.json").read_text())
    absurd = [float("inf"), float("nan"), -1, -(10**400), 10**400, 10**17, 1e308, 0.5, True, "7"]
    for key in ("kept", "samples", "pairs", "accuracy", "chance", "calibration_error"):
        for value in absurd:
            content = copy.deepcopy(whole)
            content["validation"][key] = value
            (folder / "diagnostics.json").write_text(json.dumps(content))
            (content,) = gather([read_run(folder)])
            assert content.headline
    for value in absurd:
        content = copy.deepcopy(whole)
        content["validation"]["reliability"][0]["count"] = value
        content["validation"]["modalities"][0]["similarity"][0] = value
        (folder / "diagnostics.json").write_text(json.dumps(content))
        render_report([folder])


def test_the_page_takes_the_place_of_no_link(tmp_path, runs):
    folder = shutil.copytree(runs[0], tmp_path / "run")
    target = tmp_path / "precious"
    target.write_text("precious")
    (folder / "report.html").symlink_to(target)
    result = CliRunner().invoke(main, ["report", str(folder)])
    assert result.exit_code == 2
    assert "expected a file, got a symbolic link" in result.output
    assert target.read_text() == "precious"


def test_escapes_do_not_reach_the_terminal(tmp_path, runs):
    folder = tmp_path / "a\x1b[31m"
    shutil.copytree(runs[0], folder)
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "name": "a\x1b]0;x\x07", "modalities": ["\x1b[2J", "b"]}))
    result = CliRunner().invoke(main, ["report", str(folder)])
    assert "\x1b" not in result.output
    assert result.exit_code == 0
    result = CliRunner().invoke(main, ["report", str(tmp_path / "no\x1b[31m")])
    assert result.exit_code == 2
    assert "\x1b" not in result.output


def test_write_report(tmp_path):
    RunLogger(tmp_path, modalities=NAMES, name="a run").close()
    path = write_report([tmp_path], tmp_path / "new" / "page.html")
    assert Page(path.read_text(encoding="utf-8")).all("h1")[0][1] == "Modality report: a run"
    with pytest.raises(ValueError, match="at least one run"):
        render_report([])


def test_the_command(tmp_path):
    RunLogger(tmp_path / "run", modalities=NAMES).close()
    result = CliRunner().invoke(main, ["report", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert (
        result.output == f"run: No diagnostics, and nothing was logged.\nReport: {tmp_path / 'run' / 'report.html'}\n"
    )
    page = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["report", str(tmp_path / "run"), "-o", str(page), "--title", "A title"])
    assert Page(page.read_text(encoding="utf-8")).all("h1")[0][1] == "A title"
