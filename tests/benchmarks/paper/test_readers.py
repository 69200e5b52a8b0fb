from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.paper.experiments import EXPERIMENTS
from benchmarks.paper.listing import DataError, FlowFolders
from tests.benchmarks.paper import made

# Samples, classes, groups of what is made.
SIZES = {
    "kinetics-sounds": (10, 2, 10),
    "crema-d": (30, 6, 5),
    "ucf-101": (20, 2, 10),
    "food-101": (12, 2, 12),
    "cmu-mosi": (18, 2, 9),
    "sarcasm": (30, 2, 30),
    "twitter2015": (72, 3, 36),
}


@pytest.fixture
def copied(made_once, tmp_path):
    def copy(name: str) -> Path:
        return Path(shutil.copytree(made_once / name, tmp_path / name))

    return copy


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_sample_of_a_layout_is_listed(made_once, name):
    experiment = EXPERIMENTS[name]
    listing = experiment.read(made_once / name)
    count, classes, groups = SIZES[name]
    assert (len(listing.samples), len(listing.classes), len({x.group for x in listing.samples})) == (
        count,
        classes,
        groups,
    )
    assert len({x.name for x in listing.samples}) == count
    assert {x.label for x in listing.samples} == set(range(classes))
    assert all(len(x.sources) == len(experiment.decoders) for x in listing.samples)
    assert not listing.problems


def sample(root: Path, name: str, wanted: str):
    (found,) = (x for x in EXPERIMENTS[name].read(root / name).samples if x.name == wanted)
    return found


def test_what_a_sample_is_made_of(made_once):
    root = made_once
    clip = sample(root, "kinetics-sounds", "tap dancing/1_abc-ef003_000010_000020")
    path = root / "kinetics-sounds/train/tap dancing/1_abc-ef003_000010_000020.mp4"
    assert (clip.sources, clip.label, clip.group) == ((path, path), 1, "1_abc-ef003")

    clip = sample(root, "crema-d", "1002_DFA_FEA_XX")
    folder = root / "crema-d"
    assert clip.sources == (folder / "AudioWAV/1002_DFA_FEA_XX.wav", folder / "VideoFlash/1002_DFA_FEA_XX.flv")
    assert (clip.label, clip.group) == (2, "1002")

    clip = sample(root, "ucf-101", "v_YoYo_g02_c01")
    flow = root / "ucf-101/tvl1_flow"
    assert clip.sources[0] == root / "ucf-101/UCF-101/YoYo/v_YoYo_g02_c01.avi"
    assert clip.sources[1] == FlowFolders(flow / "u/v_YoYo_g02_c01", flow / "v/v_YoYo_g02_c01")
    assert (clip.label, clip.group) == (1, "YoYo_g02")

    recipe = sample(root, "food-101", "waffles_5.jpg")
    assert recipe.sources == ('The best waffles, "really"', root / "food-101/images/test/waffles/waffles_5.jpg")

    tweet = sample(root, "twitter2015", "dev/2")
    assert tweet.sources[0] == "RT @ me : Boston and Miami [SEP] Boston"
    assert (tweet.label, tweet.group) == (0, "dev00.jpg")


def test_sarcasm_takes_the_label_of_the_annotator_and_leaves_out_what_gives_it_away(made_once):
    listing = EXPERIMENTS["sarcasm"].read(made_once / "sarcasm")
    labels = {x.name: x.label for x in listing.samples}
    assert labels["11"] == 0
    assert labels["30"] == 1
    assert listing.note == "3 tweets left out whose words give the label away"


def test_opinions_above_0_are_positive(made_once):
    listing = EXPERIMENTS["cmu-mosi"].read(made_once / "cmu-mosi")
    assert [x.label for x in listing.samples[:4]] == [0, 1, 0, 1]
    assert listing.samples[0].sources[1].shape == (5, 74)
    assert listing.samples[1].group == "trainvideo0"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_missing_folder_and_another_layout_are_said(tmp_path, name):
    read = EXPERIMENTS[name].read
    with pytest.raises(DataError, match=r"^looked for .*found no folder .*nowhere"):
        read(tmp_path / "nowhere")
    (tmp_path / "readme.txt").touch()
    with pytest.raises(DataError, match=r"^looked for .*(readme\.txt|found 0)"):
        read(tmp_path)


def test_files_that_are_missing_are_named(copied):
    root = copied("crema-d")
    (root / "AudioWAV/1001_DFA_ANG_XX.wav").unlink()
    (root / "VideoFlash/1003_DFA_SAD_XX.flv").unlink()
    (root / "VideoFlash/notes.flv").touch()
    listing = EXPERIMENTS["crema-d"].read(root)
    assert len(listing.samples) == 28
    assert [str(x) for x in listing.problems] == [
        f"{root}/AudioWAV/1001_DFA_ANG_XX.wav: missing",
        f"{root}/VideoFlash/1003_DFA_SAD_XX.flv: missing",
        "notes: expected a name such as 1001_DFA_ANG_XX",
    ]


def test_a_flow_that_is_missing_is_named(copied):
    root = copied("ucf-101")
    shutil.rmtree(root / "tvl1_flow/v/v_YoYo_g01_c02")
    (root / "UCF-101/YoYo/other.avi").touch()
    names = [Path(x.name).name for x in EXPERIMENTS["ucf-101"].read(root).problems]
    assert names == ["other.avi", "v_YoYo_g01_c02"]


def test_a_flow_that_is_called_after_the_folder_of_the_class_is_found(copied):
    root = copied("ucf-101")
    (root / "UCF-101/YoYo/v_YoYo_g01_c02.avi").rename(root / "UCF-101/YoYo/v_Yoyo_g01_c02.avi")
    listing = EXPERIMENTS["ucf-101"].read(root)
    assert not listing.problems
    (clip,) = (x for x in listing.samples if x.name == "v_Yoyo_g01_c02")
    assert clip.sources[1].u == root / "tvl1_flow/u/v_YoYo_g01_c02"


def test_texts_may_hold_other_ends_of_lines(copied):
    root = copied("food-101")
    path = root / "texts/train_titles.csv"
    path.write_text(path.read_text().replace("best", "be\u2028s\x85t"))
    listing = EXPERIMENTS["food-101"].read(root)
    assert not listing.problems
    assert "be\u2028s\x85t" in listing.samples[0].sources[0]


@pytest.mark.parametrize(
    ("name", "file", "line"),
    [
        ("food-101", "texts/test_titles.csv", "alone.jpg,no class"),
        ("food-101", "texts/test_titles.csv", "a.jpg,title,unknown"),
        ("food-101", "texts/test_titles.csv", 'a.jpg,"' + 200_000 * "x"),
        ("sarcasm", "text/train.txt", "['1', 'text', 2]"),
        ("sarcasm", "text/train.txt", "__import__('os').getcwd()"),
        ("sarcasm", "text/train.txt", "['1', 'te"),
        ("twitter2015", "twitter2015/dev.tsv", "5\t3\ta.jpg\ttweet\tname"),
        ("twitter2015", "twitter2015/dev.tsv", "5\t1\ta.jpg"),
    ],
)
def test_lines_that_cannot_be_read_are_named(copied, name, file, line):
    root = copied(name)
    with (root / file).open("a", encoding="utf-8") as end:
        end.write(line + "\n")
    (problem,) = EXPERIMENTS[name].read(root).problems
    assert Path(file).name in problem.name
    assert problem.reason.startswith("expected")


def test_other_files_among_the_clips_are_named(copied):
    root = copied("kinetics-sounds")
    (root / "train/tap dancing/list.txt").touch()
    (problem,) = EXPERIMENTS["kinetics-sounds"].read(root).problems
    assert problem == (f"{root}/train/tap dancing/list.txt", "expected one of .mkv, .mp4, .webm")


def test_a_class_without_samples_is_refused(copied):
    root = copied("crema-d")
    for path in (root / "AudioWAV").glob("*_HAP_*"):
        path.unlink()
    with pytest.raises(DataError, match=r"samples of all 6 classes, found 25, none of HAP; 5 cannot be used, first"):
        EXPERIMENTS["crema-d"].read(root)
    (root / "VideoFlash").rename(root / "Video")
    with pytest.raises(DataError, match="found no folder VideoFlash, but AudioWAV, Video"):
        EXPERIMENTS["crema-d"].read(root)


def test_a_list_that_is_missing_is_named(copied):
    root = copied("sarcasm")
    (root / "text/valid2.txt").unlink()
    with pytest.raises(DataError, match=r"valid2\.txt: No such file .*; the folder holds test2\.txt, train\.txt"):
        EXPERIMENTS["sarcasm"].read(root)


class Program:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: pickle.dumps({**content, "more": Program()}), r"expected arrays alone, got builtins\.print"),
        (lambda content: pickle.dumps(content)[:500], "expected a pickle of arrays, got"),
        (lambda content: b"", "expected a pickle of arrays, got"),
        (lambda content: pickle.dumps([1]), "expected a dict of train, valid, test, .*; got list"),
        (lambda content: pickle.dumps({"train": content["train"]}), "expected a dict of .*; got train"),
        (lambda content: pickle.dumps({**content, "valid": {"text": 1}}), "valid has no audio, vision, labels"),
        (
            lambda content: pickle.dumps({**content, "test": {**content["test"], "labels": np.zeros((2, 1, 1))}}),
            "expected as many of each in test, got",
        ),
    ],
)
def test_a_pickle_that_is_no_data_set_is_refused(copied, capsys, change, message):
    root = copied("cmu-mosi")
    path = root / "mosi_raw.pkl"
    path.write_bytes(change(pickle.loads(path.read_bytes())))
    with pytest.raises(DataError, match=message):
        EXPERIMENTS["cmu-mosi"].read(root)
    assert not capsys.readouterr().out


def test_an_opinion_that_is_no_number_is_named(tmp_path):
    made.cmu_mosi(tmp_path / "set")
    path = tmp_path / "set/mosi_raw.pkl"
    content = pickle.loads(path.read_bytes())
    content["train"]["labels"][0] = np.nan
    path.write_bytes(pickle.dumps(content))
    (problem,) = EXPERIMENTS["cmu-mosi"].read(tmp_path / "set").problems
    assert str(problem) == "trainvideo0[0]: expected a label from -3 to 3, got nan"
