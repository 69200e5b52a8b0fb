"""
Lightning
=========

MIDAS in Lightning: the left and the right half of each digit as two modalities, with MIDAS and without.
"""

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from midas_core.adapters.lightning import MidasCallback
from midas_core.adapters.torch import MidasLoss, fuse
from midas_core.report import write_report

digits = load_digits()
images = torch.tensor(digits.images / 16, dtype=torch.float32)
data = TensorDataset(images[:, :, :4].flatten(1), images[:, :, 4:].flatten(1), torch.tensor(digits.target))
training, validation = (torch.utils.data.Subset(data, part) for part in (range(600), range(600, len(data))))


class Classifier(pl.LightningModule):
    def __init__(self, criterion):
        super().__init__()
        self.encoders = nn.ModuleDict({side: nn.Sequential(nn.Linear(32, 64), nn.ReLU()) for side in ("left", "right")})
        self.head = nn.Linear(128, 10)
        self.criterion = criterion

    def loss(self, batch):
        left, right, labels = batch
        features = {"left": self.encoders["left"](left), "right": self.encoders["right"](right)}
        return self.criterion(features, labels, head=self.head)

    def training_step(self, batch, _):
        return self.loss(batch)

    def validation_step(self, batch, _):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class JointLoss(nn.Module):
    """The baseline, called as the criterion is: one cross-entropy."""

    def forward(self, features, labels, *, head):
        return nn.functional.cross_entropy(fuse(head, features, names=["left", "right"]), labels)


def train(name, criterion):
    pl.seed_everything(0)
    best = ModelCheckpoint(f"runs/{name}/best", monitor="midas/val_accuracy", mode="max")
    trainer = pl.Trainer(
        max_epochs=8,
        logger=False,
        enable_progress_bar=False,
        callbacks=[MidasCallback(f"runs/{name}", criterion=criterion), best],
    )
    trainer.fit(
        Classifier(criterion),
        DataLoader(training, batch_size=32, shuffle=True),
        DataLoader(validation, batch_size=256),
    )


train("joint", JointLoss())
train("MIDAS", MidasLoss(num_classes=10, feature_dims={"left": 64, "right": 64}, weight=2.0, warmup_epochs=1))
print(write_report(["runs/joint", "runs/MIDAS"], "runs/report.html"))
