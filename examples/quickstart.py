"""
Quickstart
==========

This page takes a classifier with two modalities from joint training to MIDAS: it trains both, measures what changed,
and saves the model. It runs in seconds on a CPU and needs ``pip install 'midas-multimodal[torch,report]'``.
"""

# %%
# Data with an imbalance
# ----------------------
# Two modalities of the same digits. The right half of each image is clean. The left half is enlarged and noisy: its 288
# numbers identify every training image, so a network can memorise them and neglect the other half. Put your own tensors
# here.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from midas_core.adapters.torch import fuse

digits = load_digits()
images, labels = digits.images / 16, torch.tensor(digits.target)
noise = np.random.default_rng(0).normal(size=(len(images), 24, 12))
left = np.kron(images[:, :, :4], np.ones((1, 3, 3))) + 0.5 * noise
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
# Joint training
# --------------
# An encoder maps each modality to a feature of shape (B, D). The fused head maps the concatenated features to logits.


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
        return fuse(self.head, self.encode(batch), names=["left", "right"])


@torch.no_grad()
def accuracy(logits, truth):
    return 100 * (logits.argmax(dim=1) == truth).double().mean().item()


@torch.no_grad()
def test_accuracy(model):
    batch, truth = select(test)
    return accuracy(model(batch), truth)


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
    joint_curve.append(test_accuracy(joint))

# %%
# Is a modality ignored?
# ----------------------
# The diagnosis works on any trained model. ``training`` holds features of training samples, from which probes learn
# what each modality could contribute.

from midas_core.diagnostics import diagnose, verdict

with torch.no_grad():
    batch, truth = select(test)
    train_batch, train_labels = select(train)
    joint_diagnosis = diagnose(
        joint.head,
        joint.encode(batch),
        truth,
        training=(joint.encode(train_batch), train_labels),
        num_classes=10,
    )
print(verdict(joint_diagnosis))

# %%
# The same training with MIDAS
# ----------------------------
# ``MidasLoss`` replaces the cross-entropy. It takes the features, the labels and the fused head, and returns the loss.
#
# - The optimizer gets ``criterion.parameters()`` too: the criterion owns a linear unimodal head for each modality.
# - ``set_epoch`` counts the warm-up, in which only the unimodal heads are trained. Without a warm-up you need no call.
# - The names in ``feature_dims`` are those in the dict of features. Lists and tuples work as well.

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
    curve.append(test_accuracy(model))

# %%
# And the best single modality
# ----------------------------
# A multimodal model should beat it. Compare all three.

torch.manual_seed(0)
single = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(single.parameters(), lr=1e-3)
for _epoch in range(60):
    for rows in torch.randperm(300).split(50):
        loss = nn.functional.cross_entropy(single(inputs["right"][rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
alone = accuracy(single(inputs["right"][test]), labels[test])
print(f"joint training {joint_curve[-1]:.1f} %, right half alone {alone:.1f} %, MIDAS {curve[-1]:.1f} %")

# %%
# What changed
# ------------
# *Misaligned* counts pairs of halves of two different digits; the model is right if it names both.

with torch.no_grad():
    batch, truth = select(test)
    training = model.encode(train_batch), train_labels
    diagnosis = diagnose(model.head, model.encode(batch), truth, training=training, num_classes=10, criterion=criterion)

figure, (over, use) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
over.plot(joint_curve, label="joint training")
over.plot(curve, label="MIDAS")
over.set(xlabel="epoch", ylabel="test accuracy, %")
over.legend()
for place, result in enumerate((joint_diagnosis, diagnosis)):
    shares = [result.accuracy, *(m.accuracy_alone for m in result.modalities), result.misaligned_accuracy]
    use.bar(np.arange(4) + 0.4 * place, [100 * share for share in shares], width=0.38)
use.set_xticks(np.arange(4) + 0.2, ["both", "left alone", "right alone", "misaligned"])
use.set_ylabel("test accuracy, %")

# %%
# What to watch
# -------------
# ``criterion.terms`` takes the arguments of the criterion and returns every term. Alpha is above 1 for a modality that
# the fused head undervalues. In ``eval()`` the loss is the full objective in every epoch: monitor it, or accuracy.

criterion.eval()
with torch.no_grad():
    terms = criterion.terms(model.encode(batch), truth, head=model.head)
print(f"aligned {terms.aligned:.2f}, misaligned {terms.misaligned:.2f}, alpha {criterion.alpha.tolist()}")

# %%
# Predict and save
# ----------------
# Prediction needs encoders and head only. To resume training, save ``criterion.state_dict()`` and the optimizer too.

torch.save(model.state_dict(), "model.pt")
restored = Classifier()
restored.load_state_dict(torch.load("model.pt", weights_only=True))
print(f"restored: {test_accuracy(restored):.1f} %")

# %%
# This is one seed, and nothing was tuned. Next: all options for PyTorch or Keras, callbacks for Lightning and the
# Trainer, and the comparison, which has several seeds, equal tuning, and data where MIDAS does not help.
