"""
Missing modalities
==================

Training samples of which half lack a modality: leave them out, or say what is present.

The left and the right half of digit images; in half of the training samples one of the two is missing.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from midas_core import zero_missing
from midas_core.adapters.torch import MidasLoss, fuse

WIDTH = 64


def encode(encoders, left, right):
    return [encoder(x) for encoder, x in zip(encoders, (left, right), strict=True)]


def train(data, midas, epochs):
    """Train two encoders and a linear head; return them."""
    encoders = nn.ModuleList(nn.Sequential(nn.Linear(32, WIDTH), nn.ReLU()) for _ in range(2))
    head, criterion = nn.Linear(2 * WIDTH, 10), MidasLoss(num_classes=10, feature_dims=(WIDTH, WIDTH))
    parameters = [*encoders.parameters(), *head.parameters(), *criterion.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for _epoch in range(epochs):
        for left, right, present, labels in DataLoader(data, batch_size=64, shuffle=True):
            features = encode(encoders, left, right)
            if midas:
                loss = criterion(features, labels, head=head, present=present)
            else:
                loss = nn.functional.cross_entropy(fuse(head, features, names=None, present=present), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return encoders, head


@torch.no_grad()
def accuracies(model, data):
    """Return the accuracy in percent with both halves, and with the left or the right one alone."""
    (encoders, head), (left, right, _, labels) = model, data[:]
    found = []
    for here in ((True, True), (True, False), (False, True)):
        present = torch.tensor(here).expand(len(labels), 2)
        logits = fuse(head, encode(encoders, left, right), names=None, present=present)
        found.append(100 * float((logits.argmax(dim=1) == labels).float().mean()))
    return found


def main(epochs, seed):
    torch.manual_seed(seed)
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)
    present = torch.ones(len(images), 2, dtype=torch.bool)
    lacking = torch.randperm(len(images))[: len(images) // 2]
    present[lacking, torch.randint(2, lacking.shape)] = False
    halves = [images[:, :, :4].flatten(1), images[:, :, 4:].flatten(1)]
    # Zeros stand for what is missing: an encoder that is fed NaN has NaN gradients.
    data = TensorDataset(*zero_missing(halves, present), present, torch.tensor(digits.target))
    whole = TensorDataset(*halves, present, torch.tensor(digits.target))
    order = torch.randperm(len(images))
    rows = order[:600]
    train_set, complete = Subset(data, rows), Subset(data, rows[present[rows].all(dim=1)])
    test = TensorDataset(*whole[order[600:]])

    for name, midas, chosen in (
        ("cross-entropy, complete samples", False, complete),
        ("cross-entropy, all samples", False, train_set),
        ("MIDAS, complete samples", True, complete),
        ("MIDAS, all samples", True, train_set),
    ):
        both, left, right = accuracies(train(chosen, midas, epochs), test)
        print(f"{name}: {both:.1f} % with both halves, {left:.1f} % left alone, {right:.1f} % right alone")


if __name__ == "__main__":
    numbers = [int(x) for x in sys.argv[1:]]
    main(epochs=numbers[0] if numbers else 40, seed=numbers[1] if len(numbers) > 1 else 0)
