"""Training in Lightning: the run folder, Lightning's own logger, checkpoints, resuming."""

import runpy
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from midas_core.adapters.torch import MidasLoss
from midas_core.runs import read_run
from tests.report.run_folders import VALIDATION_LOSSES, assert_complete, digits

pytest.importorskip("lightning")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as pl

from midas_core.adapters import lightning as adapter
from midas_core.adapters.lightning import MidasCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*number of training batches"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


class Classifier(pl.LightningModule):
    def __init__(self, criterion=None):
        super().__init__()
        self.encoders = nn.ModuleDict({m: nn.Sequential(nn.Linear(32, 16), nn.ReLU()) for m in ("left", "right")})
        self.head = nn.Linear(32, 10)
        self.criterion = criterion or MidasLoss(
            num_classes=10, feature_dims={"left": 16, "right": 16}, weight=2.0, warmup_epochs=1, seed=0
        )
        self.losses = []

    def training_step(self, batch, _):
        *views, labels = batch
        features = {name: self.encoders[name](x) for name, x in zip(("left", "right"), views, strict=True)}
        loss = self.criterion(features, labels, head=self.head)
        self.losses.append(loss.item())
        return loss

    validation_step = test_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def loaders():
    return [
        DataLoader(TensorDataset(*map(torch.from_numpy, (*views.values(), labels))), batch_size=20)
        for views, labels in digits()
    ]


def trainer(folder, *, epochs=3, callbacks=(), **options):
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, **options}
    return pl.Trainer(
        max_epochs=epochs, default_root_dir=folder, accelerator="cpu", callbacks=list(callbacks), **options
    )


def test_the_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(Path(__file__).parents[2] / "examples" / "lightning_trainer.py"))
    page = (tmp_path / "runs" / "report.html").read_text()
    assert "joint to MIDAS" in page
    joint, midas = (read_run(tmp_path / "runs" / name) for name in ("joint", "MIDAS"))
    assert joint.config == {"method": "JointLoss"}
    assert {key for row in joint.metrics for key in row} < {key for row in midas.metrics for key in row}


def test_a_run_leaves_its_folder(tmp_path):
    torch.manual_seed(0)
    model, (training, validation) = Classifier(), loaders()
    fit = trainer(tmp_path, callbacks=[MidasCallback(tmp_path / "run")], enable_checkpointing=False)
    fit.fit(model, training, validation)
    run = assert_complete(tmp_path / "run", epochs=3, losses=VALIDATION_LOSSES)
    assert [value > 0 for value in run.series("misaligned_loss")[1]] == [False, True, True]
    logged = fit.callback_metrics
    assert logged["midas/alpha_left"].item() == pytest.approx(run.series("alpha_left")[1][-1])
    assert logged["midas/val_misaligned_accuracy"].item() == pytest.approx(run.series("val_misaligned_accuracy")[1][-1])

    assert logged["midas/val_loss"].item() == pytest.approx(run.series("val_loss")[1][-1])
    # The warm-up, in the first epoch, has the loss of every other one.
    assert run.series("val_loss")[1][0] > run.series("val_loss")[1][1]

    # Evaluation after training: of another split, and again of the same one.
    fit.test(model, validation, verbose=False)
    fit.validate(model, validation, verbose=False)
    again = read_run(tmp_path / "run").diagnostics
    assert again["test"] == again["validation"] == run.diagnostics["validation"]
    assert not model.criterion._terms_hooks


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path):
    training, validation = loaders()

    def run(folder, epochs, checkpoint=None):
        torch.manual_seed(0)
        model = Classifier()
        fit = trainer(tmp_path / folder, epochs=epochs, callbacks=[MidasCallback(tmp_path / folder / "run")])
        fit.fit(model, training, validation, ckpt_path=checkpoint)
        return model, fit

    straight, _ = run("straight", 4)
    _, first = run("cut", 2)
    second, _ = run("cut", 4, first.checkpoint_callback.best_model_path)
    assert second.losses[-40:] == straight.losses[-40:]
    for key, value in straight.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key
    one, other = (read_run(tmp_path / folder / "run") for folder in ("straight", "cut"))
    assert [{**row} for row in one.metrics] == [{**row} for row in other.metrics]
    assert one.diagnostics == other.diagnostics
    with pytest.raises(ValueError, match="holds a run already; pass resume=True"):
        run("cut", 1)


def test_a_run_that_fails_can_be_read(tmp_path):
    class Failing(Classifier):
        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                raise RuntimeError("out of memory")

    training, validation = loaders()
    fit = trainer(tmp_path, callbacks=[MidasCallback(tmp_path / "run")], enable_checkpointing=False)
    with pytest.raises(RuntimeError, match="out of memory"):
        fit.fit(Failing(), training, validation)
    run = read_run(tmp_path / "run")
    assert run.finished is None
    assert run.series("loss")[0] == [0, 1]
    assert run.diagnostics["validation"]["probe"] is None


class Joint(nn.Module):
    def forward(self, features, labels, *, head):
        return nn.functional.cross_entropy(head(torch.cat(list(features.values()), dim=1)), labels)


def test_a_baseline_and_a_monitor(tmp_path):
    torch.manual_seed(0)
    criterion = Joint()
    digits = [f"digit {i}" for i in range(10)]
    options = {"every": 2, "config": {"method": "joint"}, "class_names": digits, "diagnostics": {"keep": 150}}
    callback = MidasCallback(tmp_path / "joint", criterion=criterion, **options)
    trainer(tmp_path, callbacks=[callback], fast_dev_run=True).fit(Classifier(criterion), *loaders())
    assert not (tmp_path / "joint").exists()
    best = pl.callbacks.ModelCheckpoint(tmp_path / "best", monitor="midas/val_accuracy", mode="max", every_n_epochs=2)
    model, loads = Classifier(criterion), loaders()
    fit = trainer(tmp_path, callbacks=[callback, best], precision="bf16-mixed")
    fit.fit(model, *loads)
    run = read_run(tmp_path / "joint")
    assert run.config == {"method": "joint"}
    assert run.series("loss")[0] == [0, 1, 2]
    assert run.series("val_accuracy")[0] == [1]
    assert best.best_model_score.item() == pytest.approx(run.series("val_accuracy")[1][0])
    assert run.diagnostics["validation"]["accuracy"] > 0.5
    fit.validate(model, loads[1], ckpt_path="best", verbose=False)
    found = read_run(tmp_path / "joint").diagnostics["validation"]
    assert found["accuracy"] == pytest.approx(best.best_model_score.item())
    assert found["kept"] == 150
    assert [each["name"] for each in found["classes"]] == digits


def test_a_missing_package_says_what_to_install(monkeypatch):
    for name in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(adapter, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"Lightning is not installed: pip install 'midas-multimodal\[lightning\]'"):
        adapter.import_lightning()


def test_a_model_without_a_criterion_is_refused(tmp_path):
    callback = MidasCallback(tmp_path / "run")
    with pytest.raises(ValueError, match="expected one MidasLoss in Classifier, found 0; pass criterion="):
        trainer(tmp_path, callbacks=[callback], enable_checkpointing=False).fit(Classifier(Joint()), *loaders())


def test_the_best_checkpoint_by_loss_is_not_of_the_warm_up(tmp_path):
    torch.manual_seed(0)
    criterion = MidasLoss(num_classes=10, feature_dims={"left": 16, "right": 16}, warmup_epochs=4, seed=0)
    best = pl.callbacks.ModelCheckpoint(tmp_path / "best", monitor="midas/val_loss", filename="{epoch}")
    stop = pl.callbacks.EarlyStopping(monitor="midas/val_loss", patience=2)
    callbacks = [MidasCallback(tmp_path / "run", every=100), stop, best]
    fit = trainer(tmp_path, epochs=8, callbacks=callbacks)
    fit.fit(Classifier(criterion), *loaders())
    assert fit.current_epoch > 6, "training was stopped in the warm-up or after it"
    assert int(Path(best.best_model_path).stem.split("=")[1].split("-")[0]) > 4


def test_a_batch_without_a_pair_has_no_confidences(tmp_path):
    training, validation = loaders()
    training.dataset.tensors[-1].zero_()
    callback = MidasCallback(tmp_path / "run")
    fit = trainer(tmp_path, epochs=2, callbacks=[callback], enable_checkpointing=False)
    fit.fit(Classifier(), training, validation)
    rows = [row for row in read_run(tmp_path / "run").metrics if "loss" in row]
    assert len(rows) == 2
    assert not [name for row in rows for name, value in row.items() if "confidence" in name and value is not None]


def test_a_sharded_model_is_logged_and_not_diagnosed(tmp_path):
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.fsdp import fully_shard

    from midas_core.adapters.torch.follower import Follower

    init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = Classifier()
        model.log = print
        follower = Follower(model, None, lambda *args, **options: pytest.fail("no diagnosis can be made"))
        fully_shard(model)
        (views, labels), _ = digits()
        batch = [torch.from_numpy(x[:20]) for x in (*views.values(), labels)]
        model.forward = model.training_step
        with pytest.warns(UserWarning, match="the model is sharded"):
            model.eval()(batch, 0)
        model(batch, 0)
        assert follower.take_diagnostics() is None
        assert follower.take_validation_losses()["loss"] > 0
    finally:
        destroy_process_group()
