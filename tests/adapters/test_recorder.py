"""What the callbacks of all frameworks keep of a training."""

from argparse import Namespace

import pytest

pytest.importorskip("sklearn")

from midas_core.adapters.recorder import Recorder
from midas_core.runs import read_run

NAMES = ["audio", "video"]
KNOWN = {"method": "joint", "weight": 1.0}


def train(recorder, epoch=0, **options):
    """Train for one epoch."""
    recorder.begin(NAMES, KNOWN, **options)
    recorder.log({"loss": 1.0}, epoch=epoch)
    recorder.finish()


def test_a_run_from_its_begin_to_its_end(tmp_path):
    recorder = Recorder(tmp_path, name="mine", class_names=["cat", "dog"], config={"weight": 2.0, "lr": 0.1})
    recorder.log({"loss": 9.0}, epoch=0)  # before there is a folder
    recorder.begin(NAMES, KNOWN)
    recorder.begin(["other"], {})  # each epoch begins it: nothing happens
    recorder.log({"loss": 1.0}, epoch=0, step=7, prefix="val_")
    recorder.log({}, epoch=1)
    assert read_run(tmp_path).finished is None
    recorder.finish()
    recorder.log({"loss": 9.0}, epoch=2)
    run = read_run(tmp_path)
    assert (run.name, run.modalities, run.class_names) == ("mine", ("audio", "video"), ("cat", "dog"))
    # What the user says of the configuration goes before what the callback knows.
    assert run.config == {"method": "joint", "weight": 2.0, "lr": 0.1}
    assert run.metrics == ({"epoch": 0, "step": 7, "val_loss": 1.0},)
    assert run.finished is not None


def test_a_training_in_several_parts_is_one_run(tmp_path):
    recorder = Recorder(tmp_path, tensorboard=False)
    for epoch in range(2):
        train(recorder, epoch, resumed=epoch > 0)
    assert [row["epoch"] for row in read_run(tmp_path).metrics] == [0, 1]


@pytest.mark.parametrize("resume", [None, True])
def test_another_training_does_not_replace_the_last_one(tmp_path, resume):
    recorder = Recorder(tmp_path, resume=resume)
    train(recorder)
    with pytest.raises(ValueError, match="holds the last training of this callback, and another one begins"):
        recorder.begin(NAMES, KNOWN)
    assert read_run(tmp_path).metrics == ({"epoch": 0, "loss": 1.0},)


def test_each_of_several_trainings_has_a_folder_within(tmp_path):
    recorder = Recorder(tmp_path, config=Namespace(lr=0.1))
    for trial in range(2):
        part = recorder.in_folder(f"trial-{trial}", {"weight": float(trial)})
        train(part)
    assert [read_run(tmp_path / f"trial-{trial}").config["weight"] for trial in range(2)] == [0.0, 1.0]
    assert read_run(tmp_path / "trial-1").config == {"method": "joint", "weight": 1.0, "lr": 0.1}


@pytest.mark.parametrize(("resume", "resumed"), [(None, True), (True, False)])
def test_another_process_goes_on(tmp_path, resume, resumed):
    for epoch in range(2):
        recorder = Recorder(tmp_path, resume=resume)
        train(recorder, epoch, resumed=resumed)
    assert len(read_run(tmp_path).metrics) == 2


@pytest.mark.parametrize(("resume", "resumed"), [(None, False), (False, True)])
def test_a_run_that_is_there_is_not_gone_on_with_by_chance(tmp_path, resume, resumed):
    for recorder in (Recorder(tmp_path), Recorder(tmp_path, resume=resume)):
        if (tmp_path / "run.json").exists():
            with pytest.raises(ValueError, match="holds a run already"):
                recorder.begin(NAMES, KNOWN, resumed=resumed)
        else:
            recorder.begin(NAMES, KNOWN)
            recorder.finish()


def test_a_run_that_an_error_ended_is_unfinished(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.abandon()
    recorder.begin(NAMES, KNOWN)
    recorder.abandon()
    recorder.log({"loss": 1.0}, epoch=0)
    run = read_run(tmp_path)
    assert (run.finished, run.metrics) == (None, ())
    # The same callback tries again.
    train(recorder)
    assert read_run(tmp_path).finished is not None


def test_every_so_many_evaluations_a_diagnosis_is_due(tmp_path):
    assert [Recorder(tmp_path).due() for _ in range(2)] == [True, True]
    recorder = Recorder(tmp_path, every=3)
    assert [recorder.due() for _ in range(6)] == [False, False, True, False, False, True]
    with pytest.raises(ValueError, match="every: expected a whole number >= 1, got 0"):
        Recorder(tmp_path, every=0)
    with pytest.raises(TypeError, match="prefix: expected text, got int 1"):
        Recorder(tmp_path, prefix=1)
    with pytest.raises(TypeError, match=r"config: expected a dict, a dataclass, a Namespace .*, got int"):
        Recorder(tmp_path, config=1)


def test_the_options_of_the_user_go_before_those_of_the_callback(tmp_path):
    recorder = Recorder(tmp_path, class_names=["cat", "dog"], diagnostics={"keep": 5})
    found = recorder.new_diagnostics(len, num_classes=2, keep=9, modalities=NAMES)
    assert found.class_names == ["cat", "dog"]
    assert found._pool.size == 5


class Criterion:
    warmup_epochs, aligned_from = 2, None


@pytest.mark.parametrize(
    ("share", "epochs", "start"), [(None, None, None), (0.25, 20, 15), (1.0, 20, 2), (0.5, 5, 3), (0.1, 5, None)]
)
def test_a_share_of_the_planned_epochs_becomes_an_epoch(share, epochs, start, recwarn):
    criterion = Criterion()
    Recorder("run", aligned_share=share).set_aligned_from(criterion, epochs)
    assert criterion.aligned_from == (epochs if start is None else start)
    assert ["less than one" in str(x.message) for x in recwarn] == [True] * (share == 0.1)


def test_a_share_needs_midas_and_a_plan():
    with pytest.raises(ValueError, match="aligned_share: expected None with object, which is not MIDAS"):
        Recorder("run", aligned_share=0.5).set_aligned_from(object(), 10)
    with pytest.raises(ValueError, match="aligned_share: expected None where the number of epochs is not planned"):
        Recorder("run", aligned_share=0.5).set_aligned_from(Criterion(), None)


class Found:
    def to_dict(self):
        return {"accuracy": 0.5}


def test_a_diagnosis_without_a_training_makes_its_folder(tmp_path):
    recorder = Recorder(tmp_path / "new")
    recorder.keep(Found(), "test", NAMES, KNOWN)
    run = read_run(tmp_path / "new")
    assert run.diagnostics == {"test": {"accuracy": 0.5}}
    assert (run.modalities, run.config) == (("audio", "video"), KNOWN)
    assert run.finished is not None
    recorder.begin(NAMES, KNOWN)  # a diagnosis before training
    recorder.abandon()
    # Another process: the folder stays as it is.
    Recorder(tmp_path / "new").keep(Found(), "validation", ["other"], {})
    run = read_run(tmp_path / "new")
    assert set(run.diagnostics) == {"test", "validation"}
    assert run.modalities == ("audio", "video")
