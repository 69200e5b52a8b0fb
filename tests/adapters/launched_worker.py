"""One of several processes that train through Accelerate, the Trainer and Lightning; each leaves what it ended with."""

import os
import sys
import warnings
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from midas_core.adapters import lightning as lightning_adapter
from midas_core.adapters import transformers as transformers_adapter
from midas_core.adapters.torch import MidasLoss
from tests.report.run_folders import digits

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as pl

SIDES, EPOCHS = ("left", "right"), 4


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoders = nn.ModuleDict({side: nn.Sequential(nn.Linear(32, 16), nn.ReLU()) for side in SIDES})
        self.head = nn.Linear(32, 10)
        self.criterion = MidasLoss(num_classes=10, feature_dims=dict.fromkeys(SIDES, 16), eta=0.2, seed=0)

    def forward(self, left, right, labels):
        features = {"left": self.encoders["left"](left), "right": self.encoders["right"](right)}
        return {
            "loss": self.criterion(features, labels, head=self.head),
            "logits": self.head(torch.cat([*features.values()], 1)),
        }


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = Classifier()

    def training_step(self, batch, _):
        return self.model(**batch)["loss"]

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def samples():
    """Return samples to train on and to validate on, of which the left half says less: it is the weak modality."""
    torch.manual_seed(0)
    return [
        [
            {"left": left + torch.randn(32), "right": right, "labels": label}
            for left, right, label in zip(*map(torch.from_numpy, (views["left"], views["right"], labels)), strict=True)
        ]
        for views, labels in digits()
    ]


def what_is_left(model):
    return {
        "heads": nn.utils.parameters_to_vector(model.criterion.parameters()).detach(),
        "alpha": model.criterion.alpha.clone(),
        "step": model.criterion.step.clone(),
    }


def run_accelerate(folder, training, validation):
    accelerator = Accelerator(cpu=True)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    wrapped, optimizer, loader = accelerator.prepare(
        model, optimizer, DataLoader(training, batch_size=20, shuffle=True)
    )
    for _epoch in range(EPOCHS):
        for batch in loader:
            optimizer.zero_grad()
            accelerator.backward(wrapped(**batch)["loss"])
            optimizer.step()
    return model


def run_trainer(folder, training, validation):
    model = Classifier()
    Trainer(
        model,
        TrainingArguments(
            str(folder / "checkpoints"),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=20,
            learning_rate=1e-2,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            ddp_backend="gloo",
        ),
        train_dataset=training,
        eval_dataset=validation,
        callbacks=[transformers_adapter.MidasCallback(folder / "trainer")],
    ).train()
    return model


def run_lightning(folder, training, validation):
    module = Module()
    pl.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=int(os.environ["WORLD_SIZE"]),
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[lightning_adapter.MidasCallback(folder / "lightning")],
    ).fit(module, DataLoader(training, batch_size=20, shuffle=True), DataLoader(validation, batch_size=50))
    return module.model


if __name__ == "__main__":
    place = Path(sys.argv[1])
    found = {}
    for run in (run_accelerate, run_trainer, run_lightning):
        found[run.__name__.removeprefix("run_")] = what_is_left(run(place, *samples()))
    torch.save(found, place / f"rank{os.environ['RANK']}.pt")
