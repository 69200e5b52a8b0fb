"""Training by the Trainer of Hugging Face: the example, the run folder, the Trainer's own log, resuming."""

import importlib
import runpy
import sys
from pathlib import Path

import pytest
import torch

from midas_core.adapters.torch import MidasLoss
from midas_core.runs import read_run
from tests.report.run_folders import VALIDATION_LOSSES, assert_complete, digits

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from midas_core.adapters.transformers import MidasCallback  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "hf_trainer.py"

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """Run the example; return its folder and what it defined."""
    folder = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, runpy.run_path(str(EXAMPLE))


def make_trainer(
    example, folder, epochs, *, model=None, callbacks=None, kind=transformers.Trainer, extra=None, **options
):
    transformers.set_seed(0)
    samples = [
        [{**{name: x[i] for name, x in views.items()}, "labels": labels[i]} for i in range(len(labels))]
        for views, labels in digits()
    ]
    arguments = {"num_train_epochs": epochs, "eval_strategy": "epoch", "save_strategy": "epoch", **options}
    extra = extra or {}
    return kind(
        model=None if "model_init" in extra else model or example[1]["Classifier"](),
        args=transformers.TrainingArguments(
            str(folder / "checkpoints"),
            per_device_train_batch_size=20,
            per_device_eval_batch_size=100,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            logging_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            **arguments,
        ),
        train_dataset=samples[0],
        eval_dataset=samples[1],
        callbacks=[MidasCallback(folder / "run")] if callbacks is None else callbacks,
        **extra,
    )


def test_the_example(example):
    folder, found = example
    assert (folder / "runs" / "report.html").exists()
    assert read_run(folder / "runs" / "trainer").diagnostics["validation"]["accuracy"] > 0.85
    logged = [row for row in found["trainer"].state.log_history if "loss" in row]
    assert logged[-1]["alpha_left"] >= 1
    assert [row["misaligned_loss"] > 0 for row in logged] == [False] + [True] * 9


def test_a_run_leaves_its_folder(example, tmp_path):
    trainer = make_trainer(example, tmp_path, 3, save_strategy="no")
    trainer.train()
    run = assert_complete(tmp_path / "run", epochs=3, losses=VALIDATION_LOSSES)
    trainer.predict(trainer.eval_dataset)
    trainer.evaluate()
    again = read_run(tmp_path / "run")
    assert again.diagnostics["test"] == again.diagnostics["validation"] == run.diagnostics["validation"]
    assert again.metrics == run.metrics


def test_a_resumed_run_goes_on_bit_for_bit(example, tmp_path):
    straight = make_trainer(example, tmp_path / "straight", 4)
    straight.train()
    make_trainer(example, tmp_path / "cut", 2).train()
    second = make_trainer(example, tmp_path / "cut", 4)
    second.train(resume_from_checkpoint=True)
    for key, value in straight.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[key], value), key
    one, other = (read_run(tmp_path / folder / "run") for folder in ("straight", "cut"))
    assert one.metrics == other.metrics
    assert one.diagnostics == other.diagnostics
    with pytest.raises(ValueError, match="holds a run already; pass resume=True"):
        make_trainer(example, tmp_path / "cut", 1).train()


def test_the_best_checkpoint_by_loss_is_not_of_the_warm_up(example, tmp_path):
    trainer = make_trainer(example, tmp_path, 4, load_best_model_at_end=True, metric_for_best_model="eval_loss")
    trainer.model.criterion.warmup_epochs = 2
    trainer.train()
    best = int(Path(trainer.state.best_model_checkpoint).name.removeprefix("checkpoint-"))
    assert best > 2 * trainer.state.max_steps / 4
    losses = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert read_run(tmp_path / "run").series("val_loss")[1] == pytest.approx(losses, rel=1e-4)


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "midas_core.adapters.transformers")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'midas-multimodal\[transformers\]'"):
        importlib.import_module("midas_core.adapters.transformers")


def test_a_model_that_training_makes_is_followed(example, tmp_path):
    trainer = make_trainer(example, tmp_path, 2, extra={"model_init": example[1]["Classifier"]}, save_strategy="no")
    trainer.train()
    assert trainer.model.criterion.epoch == 1
    run = assert_complete(tmp_path / "run", epochs=2, losses=VALIDATION_LOSSES)
    assert [loss > 0 for loss in run.series("misaligned_loss")[1]] == [False, True]
    with pytest.raises(ValueError, match="holds the last training of this callback, and another one begins"):
        trainer.train()


def test_the_last_share_of_the_epochs_has_the_aligned_loss_alone(example, tmp_path):
    callback = MidasCallback(tmp_path / "run", aligned_share=0.5)
    trainer = make_trainer(example, tmp_path, 1, callbacks=[callback], save_strategy="no", max_steps=40)
    trainer.train()
    run = read_run(tmp_path / "run")
    assert trainer.model.criterion.aligned_from == run.config["aligned_from"] == 2
    assert [value > 0 for value in run.series("misaligned_loss")[1]] == [False, True, False, False]


def test_each_trial_of_a_search_has_its_folder(example, tmp_path):
    class Search(transformers.TrainerCallback):
        """Stands in for a search library: what the Trainer tells of a trial."""

        def on_train_begin(self, args, state, control, **kwargs):
            state.is_hyper_param_search, state.trial_params = True, {"learning_rate": args.learning_rate}

    callbacks = [Search(), MidasCallback(tmp_path / "run")]
    extra = {"model_init": example[1]["Classifier"]}
    trainer = make_trainer(example, tmp_path, 1, callbacks=callbacks, extra=extra, save_strategy="no")
    for rate in (1e-2, 1e-3):
        trainer.args.learning_rate = rate
        trainer.train()
        trainer.evaluate()
    runs = [read_run(tmp_path / "run" / f"trial-{trial}") for trial in (1, 2)]
    assert [run.config["learning_rate"] for run in runs] == [1e-2, 1e-3]
    assert [len(run.series("loss")[0]) for run in runs] == [1, 1]
    assert all("validation" in run.diagnostics for run in runs)


@pytest.mark.parametrize("cause", ["label_smoothing_factor", "compute_loss_func", "criterion"])
def test_a_training_that_does_not_call_the_criterion_is_an_error(example, tmp_path, cause):
    def loss(outputs, labels, num_items_in_batch=None):
        return torch.nn.functional.cross_entropy(outputs["logits"], labels)

    options = {
        "label_smoothing_factor": {"label_smoothing_factor": 0.1},
        "compute_loss_func": {"extra": {"compute_loss_func": loss}},
        "criterion": {"callbacks": [MidasCallback(tmp_path / "run", criterion=example[1]["Classifier"]().criterion)]},
    }
    model = example[1]["Classifier"]()
    model.config = transformers.PretrainedConfig()
    model.criterion.set_epoch(0)
    trainer = make_trainer(example, tmp_path, 1, model=model, save_strategy="no", **options[cause])
    with pytest.raises(RuntimeError, match=r"expected calls of MidasLoss in 10 steps.*label_smoothing_factor"):
        trainer.train()
    run = read_run(tmp_path / "run")
    assert (run.finished, run.metrics) == (None, ())


def test_an_evaluation_that_does_not_call_the_criterion_is_said(example, tmp_path):
    trainer = make_trainer(example, tmp_path, 1, save_strategy="no")
    trainer.eval_dataset = [{key: x for key, x in row.items() if key != "labels"} for row in trainer.eval_dataset]
    with pytest.warns(UserWarning, match="evaluation did not call MidasLoss.*needs labels in eval_dataset"):
        trainer.train()
    trainer.predict(trainer.eval_dataset)  # predicts


class Encoders(torch.nn.Module):
    """Features alone; the loss is the Trainer's."""

    def __init__(self):
        super().__init__()
        self.left, self.right = torch.nn.Linear(32, 16), torch.nn.Linear(32, 16)
        self.head = torch.nn.Linear(32, 10)

    def forward(self, left, right, labels=None):
        features = {"left": self.left(left), "right": self.right(right)}
        return {"logits": self.head(torch.cat(list(features.values()), dim=1)), **features}


class OwnLoss(transformers.Trainer):
    criterion: MidasLoss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        features = {name: outputs[name] for name in ("left", "right")}
        loss = self.criterion(features, inputs["labels"], head=model.head)
        return (loss, {"loss": loss, "logits": outputs["logits"]}) if return_outputs else loss

    def create_optimizer(self, model=None):
        parameters = [*self.model.parameters(), *self.criterion.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=1e-2)
        return self.optimizer


def test_a_criterion_of_the_trainer_is_evaluated_in_evaluation(example, tmp_path):
    """Training in one, evaluation in the other: the criterion in the model, and beside it."""
    runs = []
    for place in ("inside", "outside"):
        transformers.set_seed(0)
        model = Encoders()
        options = {"feature_dims": {"left": 16, "right": 16}, "weight": 2.0, "warmup_epochs": 1, "seed": 0}
        criterion = MidasLoss(num_classes=10, **options)
        if place == "inside":
            model.criterion = criterion
        callback = MidasCallback(tmp_path / place, criterion=criterion)
        trainer = make_trainer(
            example, tmp_path / place, 3, model=model, kind=OwnLoss, callbacks=[callback], save_strategy="no"
        )
        trainer.criterion = criterion
        if place == "inside":
            trainer.create_optimizer = lambda model=None, trainer=trainer: transformers.Trainer.create_optimizer(
                trainer
            )
        trainer.train()
        runs.append(assert_complete(tmp_path / place, epochs=3, losses=VALIDATION_LOSSES))
        assert not criterion.training
    # The optimizers differ in their options, and evaluation before the first step of the second epoch does not.
    assert runs[0].series("val_loss")[1][0] == pytest.approx(runs[1].series("val_loss")[1][0], rel=0.05)


def test_two_callbacks_take_prefixes(example, tmp_path, caplog):
    caplog.set_level("ERROR")

    def train(folder, prefixes):
        callbacks = [MidasCallback(tmp_path / folder / f"{i}", prefix=prefix) for i, prefix in enumerate(prefixes)]
        trainer = make_trainer(example, tmp_path, 1, callbacks=callbacks, save_strategy="no")
        trainer.train()
        return trainer.state.log_history[0]

    logged = train("both", ["", "other_"])
    assert logged["alpha_left"] == logged["other_alpha_left"] == 1
    with pytest.raises(ValueError, match="prefix: expected another one for each MidasCallback, got '' twice"):
        train("clash", ["", ""])


def test_a_training_that_was_interrupted_is_done_again(example, tmp_path):
    class Once(transformers.TrainerCallback):
        stops = True

        def on_epoch_begin(self, args, state, control, **kwargs):
            if self.stops and state.global_step:
                self.stops = False
                raise KeyboardInterrupt

    trainer = make_trainer(
        example, tmp_path, 2, callbacks=[MidasCallback(tmp_path / "run"), Once()], save_strategy="no"
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train()
    assert_complete(tmp_path / "run", epochs=2, losses=VALIDATION_LOSSES)
    steps = [row["step"] for row in read_run(tmp_path / "run").metrics]
    assert steps == sorted(steps)


def test_the_copy_that_peft_trains_is_followed_and_resumes(example, tmp_path):
    peft = pytest.importorskip("peft")

    def train(folder, epochs, save=("criterion", "head"), **options):
        transformers.set_seed(0)
        config = peft.LoraConfig(target_modules=r"encoders\..*\.0", modules_to_save=list(save))
        model = peft.get_peft_model(example[1]["Classifier"](), config)
        callbacks = [MidasCallback(tmp_path / folder / "run")]
        trainer = make_trainer(
            example, tmp_path / folder, epochs, model=model, callbacks=callbacks, label_names=["labels"]
        )
        trainer.train(**options)
        return model

    straight = train("straight", 3)
    train("cut", 2)
    resumed = train("cut", 3, resume_from_checkpoint=True)
    for key, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    one, other = (
        assert_complete(tmp_path / folder / "run", 3, losses=VALIDATION_LOSSES) for folder in ("straight", "cut")
    )
    assert one.metrics == other.metrics
    wrapper = straight.base_model.model.criterion
    assert (wrapper.original_module.epoch, wrapper.epoch) == (0, 2)
    with pytest.warns(UserWarning, match=r"stay at their first values.*modules_to_save=\['criterion'\]"):
        train("frozen", 1, save=["head"])


class TwoConfig(transformers.PretrainedConfig):
    model_type = "midas-two"


class Two(transformers.PreTrainedModel):
    config_class = TwoConfig

    def __init__(self, config, with_criterion=True):
        super().__init__(config)
        self.head = torch.nn.Linear(8, 3)
        if with_criterion:
            options = {"warmup_epochs": 2, "initial_alpha": 1.5, "class_weights": [1.0, 2.0, 3.0], "seed": 5}
            self.criterion = MidasLoss(num_classes=3, feature_dims=(3, 5), **options)
        self.post_init()


@pytest.mark.skipif(transformers.__version__ < "5", reason="models are not built on the meta device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("saved", [True, False])
def test_from_pretrained_leaves_no_state_uninitialised(tmp_path, monkeypatch, saved, dtype):
    model = Two(TwoConfig(), with_criterion=saved)
    expected = {"stream": [5, 0], "alpha": [1.5, 1.5], "step": 0, "epoch": 0, "class_weights": [1, 2, 3]}
    if saved:
        model.criterion.set_epoch(4)
        for _ in range(3):
            model.criterion([torch.randn(9, 3), torch.randn(9, 5)], torch.arange(9) % 3, head=model.head)
        expected = {name: x.tolist() for name, x in model.criterion.named_buffers()}
    model.save_pretrained(tmp_path)

    real = torch.empty_like

    def spoiled(x, **options):
        # Memory as it is may hold anything.
        y = real(x, **options)
        return y if y.is_meta else y.fill_(-77)

    monkeypatch.setattr(torch, "empty_like", spoiled)
    loaded = Two.from_pretrained(tmp_path, dtype=dtype).criterion
    assert {name: x.tolist() for name, x in loaded.named_buffers()} == expected
    assert (loaded.alpha.dtype, loaded.unimodal_heads[0].weight.dtype) == (torch.float64, dtype)
    assert loaded.get_extra_state()[:2].tolist() == [5, 3 if saved else 0]
    assert all(x.abs().max() < 2 for x in loaded.parameters())
