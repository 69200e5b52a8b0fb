"""The report: one page that stands alone, whatever the runs hold."""

import copy
import json
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner

from midas_core.cli.main import main
from midas_core.diagnostics import diagnose
from midas_core.report import headlines, render_report, write_report
from midas_core.report.content import gather
from midas_core.runs import RunError, RunLogger, read_run

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


def write_run(folder, *, ignore=True, finish=True, names=NAMES, **options):
    """Write a run whose model listens to the second modality only, or to both."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 5
    views = [np.eye(5)[labels] + 0.3 * rng.normal(size=(300, 5)) for _ in names]
    weights = [(0.0 if ignore and m == 0 else 1.0) * np.eye(5) for m in range(len(names))]
    log = RunLogger(folder, modalities=names, config={"method": "joint" if ignore else "MIDAS"}, **options)
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
    for words in ("Start with MidasLoss(weight=2)", "Misaligned accuracy:", "Shapley value", "class by class"):
        assert words in text


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
    folder = tmp_path / "run"
    shutil.copytree(runs[0], folder)
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


def test_a_run_with_nothing_in_it(tmp_path):
    RunLogger(tmp_path, modalities=["one"]).close()
    assert "No diagnostics" in Page(render_report([tmp_path])).text


def test_runs_of_other_modalities_are_not_compared(tmp_path, runs):
    other = write_run(tmp_path / "other", names=["left", "middle", "right"])
    _, second = gather([read_run(runs[0]), read_run(other)])
    assert second.comparison is None
    assert second.problems == ["it has other modalities than joint: not compared"]


def test_runs_of_the_same_name_are_told_apart(runs):
    run = read_run(runs[0])
    assert [content.name for content in gather([run, run, run])] == ["joint", "joint (2)", "joint (3)"]


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
    assert result.output == f"run: No diagnostics.\nReport: {tmp_path / 'run' / 'report.html'}\n"
    page = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["report", str(tmp_path / "run"), "-o", str(page), "--title", "A title"])
    assert Page(page.read_text(encoding="utf-8")).all("h1")[0][1] == "A title"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "Missing argument 'RUN [RUN ...]'"), (["nowhere"], "expected a run folder with run.json")],
)
def test_bad_arguments_end_with_a_message(arguments, said):
    result = CliRunner().invoke(main, ["report", *arguments])
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
