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

    def encode(self, batch):
        *views, labels = batch
        return {name: self.encoders[name](x) for name, x in zip(("left", "right"), views, strict=True)}, labels

    def training_step(self, batch, _):
        features, labels = self.encode(batch)
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
    assert run.series("val_misaligned_accuracy")[0] == [1]
    assert best.best_model_score.item() == pytest.approx(run.series("val_accuracy")[1][1])
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
        with pytest.warns(UserWarning, match="nothing is diagnosed.*the model is sharded"):
            model.eval()(batch, 0)
        model(batch, 0)
        assert follower.take_diagnostics() is None
        assert follower.take_validation_losses()["loss"] > 0
    finally:
        destroy_process_group()


def short(folder, model, *callbacks, loads=None, **options):
    fit = trainer(folder, callbacks=callbacks, enable_checkpointing=False, **{"epochs": 2, **options})
    fit.fit(model, *(loads or loaders()))
    return fit


def test_a_criterion_is_looked_for_when_training_begins(tmp_path):
    class Late(Classifier):
        def configure_model(self):
            self.criterion = MidasLoss(num_classes=10, feature_dims={"left": 16, "right": 16}, warmup_epochs=1)

    model = Late(Joint())
    short(tmp_path, model, MidasCallback(tmp_path / "run"))
    assert model.criterion.epoch == 1
    assert read_run(tmp_path / "run").config["method"] == "MIDAS"


def test_a_training_that_does_not_call_the_criterion_is_an_error(tmp_path):
    class Other(Classifier):
        def training_step(self, batch, _):
            left, _, labels = batch
            return nn.functional.cross_entropy(self.head(torch.cat([self.encoders["left"](left)] * 2, dim=1)), labels)

    with pytest.raises(RuntimeError, match="expected calls of MidasLoss in 10 steps of training, got none"):
        short(tmp_path, Other(), MidasCallback(tmp_path / "run"))
    assert read_run(tmp_path / "run").finished is None


def test_an_evaluation_that_does_not_call_the_criterion_is_said(tmp_path):
    class Silent(Classifier):
        def validation_step(self, batch, _):
            pass

    with pytest.warns(UserWarning, match="evaluation did not call MidasLoss.*validation_step has to call it too"):
        short(tmp_path, Silent(), MidasCallback(tmp_path / "run"))


def test_a_criterion_outside_of_the_module_gets_its_mode(tmp_path):
    class Outside(Classifier):
        def __init__(self):
            super().__init__()
            self.known = [self._modules.pop("criterion")]

        def __getattr__(self, name):
            return self.known[0] if name == "criterion" else super().__getattr__(name)

        def training_step(self, batch, _):
            features, labels = self.encode(batch)
            return self.criterion.terms(features, labels, head=self.head).total

        validation_step = test_step = training_step

        def configure_optimizers(self):
            return torch.optim.Adam([*self.parameters(), *self.criterion.parameters()], lr=1e-2)

    runs = []
    for kind in (Classifier, Outside):
        torch.manual_seed(0)
        model = kind()
        callback = MidasCallback(tmp_path / kind.__name__, criterion=model.criterion)
        fit = short(tmp_path, model, callback, val_check_interval=0.5)
        fit.test(model, loaders()[1], verbose=False)
        runs.append(read_run(tmp_path / kind.__name__))
    assert runs[0].metrics == runs[1].metrics
    assert runs[0].diagnostics == runs[1].diagnostics


def test_two_criteria_with_a_callback_each(tmp_path):
    class Two(Classifier):
        def __init__(self):
            super().__init__()
            self.parity = MidasLoss(num_classes=2, feature_dims={"left": 16, "right": 16}, seed=0)
            self.small = nn.Linear(32, 2)

        def training_step(self, batch, _):
            features, labels = self.encode(batch)
            loss = self.criterion(features, labels, head=self.head)
            return loss + self.parity(features, labels % 2, head=self.small)

        validation_step = training_step

    def callbacks(folder, model, prefixes):
        pairs = zip(("criterion", "parity"), prefixes, strict=True)
        return [MidasCallback(tmp_path / folder / c, criterion=getattr(model, c), prefix=p) for c, p in pairs]

    model = Two()
    with pytest.raises(ValueError, match=r"found 2 \(criterion, parity\); pass criterion="):
        short(tmp_path, model, MidasCallback(tmp_path / "run"))
    with pytest.raises(ValueError, match="prefix: expected another one for each MidasCallback, got '' twice"):
        short(tmp_path, model, *callbacks("clash", model, ["", ""]))
    logged = short(tmp_path, model, *callbacks("both", model, ["", "parity_"])).callback_metrics
    for name, prefix in (("criterion", ""), ("parity", "parity_")):
        run = read_run(tmp_path / "both" / name)
        for metric in ("val_loss", "val_accuracy", "alpha_left"):
            assert logged[f"midas/{prefix}{metric}"].item() == pytest.approx(run.series(metric)[1][-1])


def test_every_second_diagnosis_goes_with_early_stopping(tmp_path):
    stop = pl.callbacks.EarlyStopping(monitor="midas/val_accuracy", mode="max", patience=9)
    short(tmp_path, Classifier(), MidasCallback(tmp_path / "run", every=2), stop)
    run = read_run(tmp_path / "run")
    assert run.series("val_accuracy")[0] == [0, 1]
    assert run.series("val_misaligned_accuracy")[0] == [1]
    stop = pl.callbacks.EarlyStopping(monitor="midas/val_misaligned_accuracy", mode="max")
    with pytest.raises(
        ValueError, match="every: expected 1 where EarlyStopping monitors 'midas/val_misaligned_accuracy'"
    ):
        short(tmp_path, Classifier(), MidasCallback(tmp_path / "other", every=2), stop)


def test_a_second_fit_goes_on_and_another_training_is_refused(tmp_path):
    callback, model, loads = MidasCallback(tmp_path / "run"), Classifier(), loaders()
    fit = short(tmp_path, model, callback, loads=loads)
    fit.fit_loop.max_epochs = 3
    fit.fit(model, *loads)
    assert read_run(tmp_path / "run").series("loss")[0] == [0, 1, 2]
    with pytest.raises(ValueError, match="holds the last training of this callback, and another one begins"):
        short(tmp_path, Classifier(), callback, loads=loads)


@pytest.mark.parametrize("plan", [{"epochs": 4}, {"epochs": -1, "max_steps": 20, "accumulate_grad_batches": 2}])
def test_the_last_share_of_the_epochs_has_the_aligned_loss_alone(tmp_path, plan):
    model = Classifier()
    short(tmp_path, model, MidasCallback(tmp_path / "run", aligned_share=0.25), **plan)
    run = read_run(tmp_path / "run")
    assert model.criterion.aligned_from == run.config["aligned_from"] == 3
    assert [value > 0 for value in run.series("misaligned_loss")[1]] == [False, True, True, False]
    with pytest.raises(ValueError, match=r"aligned_share: expected a number in \[0, 1\], got 2"):
        MidasCallback(tmp_path, aligned_share=2)


def test_forgotten_heads_are_said_after_one_epoch(tmp_path):
    class Forgotten(Classifier):
        def configure_optimizers(self):
            return torch.optim.Adam([*self.encoders.parameters(), *self.head.parameters()], lr=1e-2)

    model = Forgotten(MidasLoss(num_classes=10, feature_dims={"left": 16, "right": 16}, seed=0))
    with pytest.warns(UserWarning, match="unimodal heads have not changed in 10 steps of the optimizer"):
        short(tmp_path, model, MidasCallback(tmp_path / "run"), epochs=1, limit_val_batches=0)
