"""``fit`` learns what the PyTorch loop learns, on the two halves of the digits."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from torch import nn

from midas_core.adapters import torch as torch_adapter
from midas_core.adapters.keras import MidasLoss, MidasModel
from midas_core.data.digits import halves

EPOCHS, BATCH, RATE, SEEDS = 40, 50, 3e-3, (0, 1)


def with_keras(seed):
    task = halves(seed)
    keras.utils.set_random_seed(seed)
    dense = keras.layers.Dense
    encoders = [
        keras.Sequential([keras.Input((32,)), dense(128, activation="relu"), dense(64, activation="relu")])
        for _ in "lr"
    ]
    model = MidasModel(encoders, task.num_classes)
    model.compile(keras.optimizers.Adam(RATE), loss=MidasLoss(), metrics=["accuracy"])
    model.fit(task.training.inputs, task.training.labels, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    found = model.predict(list(task.test.inputs), verbose=0, batch_size=300)
    return (found.argmax(axis=1) == task.test.labels).mean()


def with_torch(seed):
    task = halves(seed)
    torch.manual_seed(seed)
    encoders = [nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()) for _ in "lr"]
    head = nn.Linear(128, task.num_classes)
    criterion = torch_adapter.MidasLoss(num_classes=task.num_classes, feature_dims=[64, 64])
    optimizer = torch.optim.Adam(nn.ModuleList([*encoders, head, criterion]).parameters(), lr=RATE)

    def encode(inputs):
        return [encoder(x) for encoder, x in zip(encoders, inputs, strict=True)]

    views, labels = [torch.from_numpy(x) for x in task.training.inputs], torch.from_numpy(task.training.labels)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(BATCH):
            loss = criterion(encode([x[rows] for x in views]), labels[rows], head=head)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        found = head(torch.cat(encode([torch.from_numpy(x) for x in task.test.inputs]), dim=1))
    return (found.argmax(dim=1).numpy() == task.test.labels).mean()


@pytest.mark.once
def test_fit_learns_what_the_pytorch_loop_learns():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours, theirs = (np.array([run(seed) for seed in SEEDS]) for run in (with_keras, with_torch))
    finally:
        torch.set_num_threads(threads)
    assert ours.min() > 0.94
    # Another start, another order: two points are within the spread over seeds.
    assert abs(ours.mean() - theirs.mean()) < 0.02
