"""
A model that fuses early
========================

MIDAS for a model that fuses early: a transformer over the rows of both halves of each digit image.

Such a model has no features of one modality to mix, so the inputs are mixed and the whole model runs on them.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from midas_core.adapters.torch import MidasLoss, Misalign

WIDTH = 32


class EarlyFusion(nn.Module):
    """Each half attends to the other one; there is no part of it that sees one half alone."""

    def __init__(self):
        super().__init__()
        self.embed = nn.ModuleDict({side: nn.Linear(4, WIDTH) for side in ("left", "right")})
        self.place = nn.ParameterDict({side: nn.Parameter(0.1 * torch.randn(8, WIDTH)) for side in self.embed})
        self.attend = nn.ModuleDict({side: nn.MultiheadAttention(WIDTH, 4, batch_first=True) for side in self.embed})
        self.classify = nn.Sequential(nn.LayerNorm(2 * WIDTH), nn.Linear(2 * WIDTH, 64), nn.GELU(), nn.Linear(64, 10))

    def forward(self, images):
        tokens = {side: self.embed[side](images[side]) + self.place[side] for side in self.embed}
        pooled = []
        for side, other in (("left", "right"), ("right", "left")):
            seen, _ = self.attend[side](tokens[side], tokens[other], tokens[other], need_weights=False)
            pooled.append((tokens[side] + seen).relu().mean(dim=1))
        return self.classify(torch.cat(pooled, dim=1))


def one_half():
    """Return a small classifier of one half: all that MIDAS asks of it is how sure one can be of this half."""
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


def train(model, criterion, data, epochs, loss_of):
    optimizer = torch.optim.Adam([*model.parameters(), *criterion.parameters()], lr=2e-3)
    for epoch in range(epochs):
        if isinstance(criterion, MidasLoss):
            criterion.set_epoch(epoch)
        for left, right, labels in DataLoader(data, batch_size=64, shuffle=True):
            loss = loss_of({"left": left, "right": right}, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def evaluate(model, left, right, labels):
    """Return the accuracy, and the share of misaligned samples of which the model names both classes, in percent."""
    images = {"left": left, "right": right}
    accuracy = (model(images).argmax(dim=1) == labels).float().mean()
    mixed, soft_labels, weights = Misalign(num_classes=10, similarity=None, seed=0)(images, labels)
    both = model(mixed).topk(2).indices.sort().values == soft_labels.topk(2).indices.sort().values
    return [round(100 * float(x), 1) for x in (accuracy, both.all(dim=1)[weights > 0].float().mean())]


def main(epochs, seed=0):
    torch.manual_seed(seed)
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)
    data = TensorDataset(images[:, :, :4], images[:, :, 4:], torch.tensor(digits.target))
    train_set, test_set = torch.utils.data.random_split(data, [900, len(data) - 900])

    joint, cross_entropy = EarlyFusion(), nn.CrossEntropyLoss()
    train(joint, cross_entropy, train_set, epochs, lambda x, y: cross_entropy(joint(x), y))

    model = EarlyFusion()
    criterion = MidasLoss(
        num_classes=10,
        unimodal_heads={"left": one_half(), "right": one_half()},  # from the raw input to logits
        head_input="separate",  # the model takes the dict of inputs
        similarity=None,  # of raw inputs it would say little
        warmup_epochs=1,
    )
    train(model, criterion, train_set, epochs, lambda x, y: criterion(x, y, head=model))

    for name, each in (("joint", joint), ("MIDAS", model)):
        accuracy, both = evaluate(each, *test_set[:])
        print(f"{name}: test accuracy {accuracy} %, both classes of misaligned samples {both} %")


if __name__ == "__main__":
    main(epochs=int(sys.argv[1]) if len(sys.argv) > 1 else 20, seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
