"""One rank of a job that is killed in mid-training and goes on from its checkpoint; see test_restart.py."""

import os
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from midas_core.adapters.torch import MidasLoss
from tests.adapters.torch.distributed_worker import Parts

STEPS, DIES_AT, SAVES_AT = 8, 5, 3


def batch(step, rank):
    generator = torch.Generator().manual_seed(100 * step + rank)
    size = 6 + rank
    return [torch.randn(size, d, generator=generator) for d in (7, 8)], torch.randint(
        0, 4, (size,), generator=generator
    )


def count_reductions():
    """Return a list that grows by the size of what each `all_reduce` of Python sends; the wrapper's own are in C++."""
    sizes, reduce = [], distributed.all_reduce

    def counted(tensor, *args, **kwargs):
        sizes.append(tensor.numel())
        return reduce(tensor, *args, **kwargs)

    distributed.all_reduce = counted
    return sizes


def main(folder, dies):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, checkpoint = distributed.get_rank(), folder / f"checkpoint{distributed.get_rank()}.pt"
    torch.manual_seed(0)
    options = {"warmup_epochs": 1, "initial_alpha": 1.5, "seed": 0}
    model = DistributedDataParallel(Parts(MidasLoss(num_classes=4, feature_dims=(6, 5), **options)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    start = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.module.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        start = saved["step"]
    sizes, alphas = count_reductions(), []
    for step in range(start, STEPS):
        if dies and step == DIES_AT and rank == 1:
            os._exit(1)
        model.module.criterion.set_epoch(step // 2)
        optimizer.zero_grad()
        sizes.clear()
        model(*batch(step, rank)).backward()
        optimizer.step()
        # One small reduction a step, none in the warm-up: five numbers for two modalities. The first and the fifth of
        # them are followed by a comparison of the unimodal heads, two numbers for each of four parameters.
        common = step - max(start, 2) + 1
        assert sizes == ([] if step < 2 else [5, 8] if common in (1, 5) else [5]), sizes
        alphas.append(model.module.criterion.alpha.clone())
        if step + 1 == SAVES_AT:
            content = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(content, checkpoint)
    result = {"model": model.module.state_dict(), "alphas": torch.stack(alphas), "start": start}
    torch.save(result, folder / f"result{rank}.pt")
    # The wrapper first, see distributed_worker.py.
    del model
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "dies")
