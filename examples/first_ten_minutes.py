"""
The first ten minutes
=====================

A classifier of two modalities learns from one of them and neglects the other. This page trains one, finds that out, and
trains it again with MIDAS. It takes some seconds on a CPU, and needs ``pip install 'midas-multimodal[torch,report]'``.
"""

# %%
# Two modalities
# --------------
# The right half of each digit is clean. The left half is enlarged and noisy: its 288 numbers identify every training
# image, so that a network can memorise them and stop learning from the other half.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

digits = load_digits()
images, labels = digits.images / 16, torch.tensor(digits.target)
noise = np.random.default_rng(0).normal(size=(len(images), 24, 12))
left = np.kron(images[:, :, :4], np.ones((1, 3, 3))) + noise
right = images[:, :, 4:]

figure, axes = plt.subplots(2, 6, figsize=(6, 3.2))
for column, (above, below) in enumerate(zip(axes[0], axes[1], strict=True)):
    above.imshow(left[column], cmap="gray_r")
    below.imshow(right[column], cmap="gray_r")
    above.set_title(f"a {labels[column]}")
for axis, name in zip(axes[:, 0], ("left", "right"), strict=True):
    axis.set_ylabel(name)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])

# %%
inputs = {name: torch.tensor(x, dtype=torch.float32).flatten(1) for name, x in (("left", left), ("right", right))}
train, test = slice(300), slice(700, None)


def select(rows):
    return {name: x[rows] for name, x in inputs.items()}, labels[rows]


# %%
# A model and its training
# ------------------------
# Any encoder will do that makes one feature of each modality. The fused head takes the features, concatenated.


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU()) for name, x in inputs.items()}
        )
        self.head = nn.Linear(128, 10)

    def encode(self, batch):
        return {name: self.encoders[name](x) for name, x in batch.items()}

    def forward(self, batch):
        return self.head(torch.cat(list(self.encode(batch).values()), dim=1))


def accuracy(model):
    batch, truth = select(test)
    with torch.no_grad():
        return 100 * (model(batch).argmax(dim=1) == truth).double().mean().item()


torch.manual_seed(0)
joint = Classifier()
optimizer = torch.optim.Adam(joint.parameters(), lr=1e-3)
joint_curve = []
for _epoch in range(60):
    for rows in torch.randperm(300).split(50):
        batch, truth = select(rows)
        loss = nn.functional.cross_entropy(joint(batch), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    joint_curve.append(accuracy(joint))

# %%
# Is a modality ignored?
# ----------------------
# The diagnosis looks at a trained model from outside, whatever trained it.

from midas_core.diagnostics import diagnose, verdict

batch, truth = select(test)
with torch.no_grad():
    known, seen = select(train)
    joint_found = diagnose(joint.head, joint.encode(batch), truth, training=(joint.encode(known), seen), num_classes=10)
print(verdict(joint_found))

# %%
# The same training with MIDAS
# ----------------------------
# ``MidasLoss`` stands in the place of the cross-entropy, and takes the features, the labels and the fused head. It owns
# a linear unimodal head for each modality, so the optimizer gets its parameters too. For the first five epochs it
# trains these alone.

from midas_core.adapters.torch import MidasLoss

torch.manual_seed(0)
model = Classifier()
criterion = MidasLoss(num_classes=10, feature_dims={"left": 64, "right": 64}, warmup_epochs=5)
optimizer = torch.optim.Adam([*model.parameters(), *criterion.parameters()], lr=1e-3)
curve = []
for epoch in range(60):
    criterion.set_epoch(epoch)
    for rows in torch.randperm(300).split(50):
        batch, truth = select(rows)
        loss = criterion(model.encode(batch), truth, head=model.head)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    curve.append(accuracy(model))

# %%
# What changed
# ------------

batch, truth = select(test)
with torch.no_grad():
    training = model.encode(known), seen
    found = diagnose(model.head, model.encode(batch), truth, training=training, num_classes=10, criterion=criterion)

figure, (over, use) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
over.plot(joint_curve, label="joint training")
over.plot(curve, label="MIDAS")
over.set(xlabel="epoch", ylabel="test accuracy, %")
over.legend()
bars = ["both", "left alone", "right alone", "misaligned"]
for place, diagnosis in enumerate((joint_found, found)):
    shares = [
        diagnosis.accuracy,
        *(each.accuracy_alone for each in diagnosis.modalities),
        diagnosis.misaligned_accuracy,
    ]
    use.bar(np.arange(4) + 0.4 * place, [100 * share for share in shares], width=0.38)
use.set_xticks(np.arange(4) + 0.2, bars)
use.set_ylabel("test accuracy, %")
print(f"joint training {joint_curve[-1]:.1f} %, MIDAS {curve[-1]:.1f} %")

# %%
# *Misaligned* is the share of pairs of halves of different digits of which the model names both.
#
# This is one seed, and nothing was tuned. The demo has five seeds, the same tuning for every method, and data where
# MIDAS does not help. Next: your own model, on the page "Getting started".
