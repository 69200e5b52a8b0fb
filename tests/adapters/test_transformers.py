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


def make_trainer(example, folder, epochs, **options):
    transformers.set_seed(0)
    samples = [
        [{**{name: x[i] for name, x in views.items()}, "labels": labels[i]} for i in range(len(labels))]
        for views, labels in digits()
    ]
    arguments = {"num_train_epochs": epochs, "eval_strategy": "epoch", "save_strategy": "epoch", **options}
    return transformers.Trainer(
        example[1]["Classifier"](),
        transformers.TrainingArguments(
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
        callbacks=[MidasCallback(folder / "run")],
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
    expected = {"alpha": [1.5, 1.5], "step": 0, "epoch": 0, "class_weights": [1, 2, 3]}
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
    assert loaded.get_extra_state().tolist() == [5, 3 if saved else 0]
    assert all(x.abs().max() < 2 for x in loaded.parameters())
