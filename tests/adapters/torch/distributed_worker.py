"""One rank of test_distributed.py: warm-up and training under DistributedDataParallel, batches of uneven size."""

import faulthandler
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from midas_core.adapters.torch import MidasLoss

STEPS = 6


class Parts(nn.Module):
    """Encoders and head, and the criterion with them, so that one wrapper sees every parameter, or outside."""

    def __init__(self, criterion=None):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.encoders = nn.ModuleList([nn.Linear(7, 6), nn.Linear(8, 5)])
        self.head = nn.Linear(11, 4)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 2
        self.criterion = criterion

    def forward(self, views, labels, permutation=None):
        features = [encoder(view) for encoder, view in zip(self.encoders, views, strict=True)]
        if self.criterion is None:
            return features
        return self.criterion(features, labels, head=self.head, permutation=permutation)


def make_parts(criterion=None):
    return Parts(criterion).double()


def shard(step, rank):
    """Return views, labels and permutation of one rank in one step; the last step is uneven."""
    generator = torch.Generator().manual_seed(100 * step + rank)
    size = 8 if step < STEPS - 1 else 4 + rank
    views = [torch.randn(size, width, generator=generator, dtype=torch.float64) for width in (7, 8)]
    labels = torch.randint(0, 4, (size,), generator=generator)
    return views, labels, torch.randperm(size, generator=generator)


def main(folder, variant, ranks, rank):
    # Meet at a file: a port that was free a moment ago may not be so any more.
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, world_size=ranks, rank=rank)
    torch.manual_seed(0)
    criterion = MidasLoss(num_classes=4, feature_dims=(6, 5), variant=variant, warmup_epochs=1, seed=0)
    model = DistributedDataParallel(make_parts(criterion))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    criterion.set_epoch(0)
    for step in range(2):
        model(*shard(50 + step, rank)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert criterion.step == 0, "warm-up moved the state"

    criterion.set_epoch(1)
    alphas, before = [], []
    for step in range(STEPS):
        before.append({name: value.clone() for name, value in model.module.named_parameters()})
        optimizer.zero_grad()
        model(*shard(step, rank)).backward()
        optimizer.step()
        alphas.append(criterion.alpha.clone())
    parameters = {name: value.detach() for name, value in model.module.named_parameters()}
    before = [{name: value.detach() for name, value in x.items()} for x in before]
    torch.save({"alphas": torch.stack(alphas), "parameters": parameters, "before": before}, folder / f"rank{rank}.pt")
    # The wrapper first: if it is the last to let go of the group, PyTorch joins the group's threads while it holds the
    # interpreter, for which they may wait.
    del model
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    # A rank that waits for another says where.
    faulthandler.dump_traceback_later(120, exit=True)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
