"""A two-encoder classifier in plain PyTorch: the left and the right half of each digit image."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images / 16, dtype=torch.float32)
data = TensorDataset(images[:, :, :4].flatten(1), images[:, :, 4:].flatten(1), torch.tensor(digits.target))
train, test = torch.utils.data.random_split(data, [600, len(data) - 600])

left_encoder = nn.Sequential(nn.Linear(32, 64), nn.ReLU())
right_encoder = nn.Sequential(nn.Linear(32, 64), nn.ReLU())
head = nn.Linear(128, 10)
criterion = nn.CrossEntropyLoss()
modules = nn.ModuleList([left_encoder, right_encoder, head])
optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)

for _epoch in range(60):
    for left, right, labels in DataLoader(train, batch_size=64, shuffle=True):
        features = (left_encoder(left), right_encoder(right))
        loss = criterion(head(torch.cat(features, dim=1)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

left, right, labels = test[:]
with torch.no_grad():
    logits = head(torch.cat((left_encoder(left), right_encoder(right)), dim=1))
print(f"test accuracy {100 * (logits.argmax(dim=1) == labels).float().mean():.1f} %")
