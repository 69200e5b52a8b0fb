"""
PyTorch: a plain loop with MIDAS
================================

A two-encoder classifier in PyTorch: the left half of each digit, wide and noisy, and the clean right one.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from midas_core.adapters.torch import MidasLoss

torch.manual_seed(0)
images, labels = load_digits().images / 16, torch.tensor(load_digits().target)
noise = np.random.default_rng(0).normal(size=(len(images), 24, 12))
left = torch.tensor(np.kron(images[:, :, :4], np.ones((1, 3, 3))) + 0.5 * noise, dtype=torch.float32).flatten(1)
right = torch.tensor(images[:, :, 4:], dtype=torch.float32).flatten(1)
train, test = TensorDataset(left[:300], right[:300], labels[:300]), (left[700:], right[700:], labels[700:])

left_encoder = nn.Sequential(nn.Linear(288, 64), nn.ReLU())
right_encoder = nn.Sequential(nn.Linear(32, 64), nn.ReLU())
head = nn.Linear(128, 10)
criterion = MidasLoss(num_classes=10, feature_dims=(64, 64), warmup_epochs=5)
modules = nn.ModuleList([left_encoder, right_encoder, head, criterion])
optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)

for epoch in range(60):
    criterion.set_epoch(epoch)
    for left, right, labels in DataLoader(train, batch_size=50, shuffle=True):
        features = (left_encoder(left), right_encoder(right))
        loss = criterion(features, labels, head=head)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

left, right, labels = test
with torch.no_grad():
    logits = criterion.fuse((left_encoder(left), right_encoder(right)), head=head)
print(f"test accuracy {100 * (logits.argmax(dim=1) == labels).float().mean():.1f} %")
