"""
Run folder and report
=====================

A plain loop that leaves a run folder, diagnoses its model and makes the report.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from midas_core.adapters.torch import MidasLoss
from midas_core.diagnostics import Diagnostics
from midas_core.report import write_report
from midas_core.runs import RunLogger

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images / 16, dtype=torch.float32)
data = TensorDataset(images[:, :, :4].flatten(1), images[:, :, 4:].flatten(1), torch.tensor(digits.target))
training, validation = (torch.utils.data.Subset(data, part) for part in (range(600), range(600, len(data))))

encoders = nn.ModuleDict({side: nn.Sequential(nn.Linear(32, 64), nn.ReLU()) for side in ("left", "right")})
head = nn.Linear(128, 10)
criterion = MidasLoss(num_classes=10, feature_dims={"left": 64, "right": 64}, weight=2.0, warmup_epochs=1)
optimizer = torch.optim.Adam([*encoders.parameters(), *head.parameters(), *criterion.parameters()], lr=1e-2)


def encode(left, right):
    return {"left": encoders["left"](left), "right": encoders["right"](right)}


with RunLogger("runs/plain", modalities=["left", "right"], config={"method": "MIDAS", "weight": 2.0}) as log:
    step = 0
    for epoch in range(10):
        criterion.set_epoch(epoch)
        for left, right, labels in DataLoader(training, batch_size=32, shuffle=True):
            terms = criterion.terms(encode(left, right), labels, head=head)
            optimizer.zero_grad()
            terms.total.backward()
            optimizer.step()
            log.log(terms, epoch=epoch, step=step)  # on a GPU every so many steps: it waits for the numbers
            step += 1
        diagnostics = Diagnostics(head, num_classes=10, criterion=criterion)
        with torch.no_grad():
            for left, right, labels in DataLoader(validation, batch_size=256):
                diagnostics.update(encode(left, right), labels)
        log.log(diagnostics.compute(quick=True).metrics(), epoch=epoch, prefix="val_")
    log.log_diagnostics(diagnostics.compute())

print(write_report(["runs/plain"], "runs/report.html"))
