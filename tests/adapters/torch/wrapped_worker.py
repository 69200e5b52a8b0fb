"""One rank of the runs of test_distributed.py in which a wrapper and the criterion meet; each leaves what it saw."""

import faulthandler
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.algorithms.join import Join
from torch.nn.parallel import DistributedDataParallel

from midas_core.adapters.torch import MidasLoss
from midas_core.diagnostics import Diagnostics
from tests.adapters.torch.distributed_worker import Parts


def make(**options):
    torch.manual_seed(0)
    return MidasLoss(num_classes=4, feature_dims=(6, 5), seed=0, **options)


def batch(step, rank):
    generator = torch.Generator().manual_seed(100 * step + rank)
    labels = torch.randint(0, 4, (8,), generator=generator)
    return [torch.randn(8, width, generator=generator) for width in (7, 8)], labels


def train(step_loss, parameters, steps, rank):
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        step_loss(*batch(step, rank)).backward()
        optimizer.step()


def beside(rank, inside=False):
    """Wrap the model and leave the criterion beside it, as a plain loop does; or hold it inside."""
    criterion = make()
    model = DistributedDataParallel(Parts(criterion if inside else None))

    def loss(views, labels):
        if inside:
            return model(views, labels)
        return criterion(model(views, labels), labels, head=model.module.head)

    train(loss, {*model.parameters(), *criterion.parameters()}, 6, rank)
    return {"heads": nn.utils.parameters_to_vector(criterion.parameters()).detach()}


def inside(rank):
    return beside(rank, inside=True)


def uneven(rank):
    """Give the ranks different numbers of batches, under Join."""
    criterion = make()
    model = DistributedDataParallel(Parts(criterion))
    with Join([model]):
        train(model, model.parameters(), 3 + 2 * rank, rank)
    return {"step": criterion.step.clone()}


def alone(rank):
    """Validate on one rank, in both modes."""
    criterion = make()
    model = DistributedDataParallel(Parts(criterion))
    train(model, model.parameters(), 2, rank)
    if rank == 0:
        for training in (False, True):
            with torch.no_grad():
                model.module.train(training)(*batch(9, rank))
        model.module.eval()(*batch(9, rank))
    model.train()
    train(model, model.parameters(), 2, rank)
    return {"alpha": criterion.alpha.clone(), "step": criterion.step.clone()}


def sharded(rank):
    """Shard the module that holds the criterion; return the losses and alpha, which DDP gives too."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    found = {}
    for way in ("DDP", "FSDP2", "FSDP2, resharded", "FSDP2, criterion by itself"):
        torch.manual_seed(0)
        model = Parts(make())
        criterion, losses = model.criterion, []
        if way == "DDP":
            run = DistributedDataParallel(model)
        elif way.endswith("itself"):
            fully_shard(criterion, reshard_after_forward=True)
            register_fsdp_forward_method(criterion, "terms")
            run = fully_shard(model)
        else:
            run = fully_shard(model, reshard_after_forward=way.endswith("resharded"))

        def loss(views, labels, run=run, losses=losses):
            losses.append(run(views, labels))
            return losses[-1]

        train(loss, run.parameters(), 5, rank)
        found[way] = (torch.stack(losses).detach(), criterion.alpha.clone())
        labels = batch(7, rank)[1]
        features = [torch.randn(8, 6), torch.randn(8, 5)]
        if way.endswith("itself"):
            assert criterion.eval().terms(features, labels, head=nn.Linear(11, 4)).total.isfinite()
        elif way.endswith("resharded"):
            try:
                criterion.terms(features, labels, head=nn.Linear(11, 4))
            except ValueError as error:
                found["error"] = str(error)
            diagnostics = Diagnostics(model.head, num_classes=4, unimodal_heads=criterion.unimodal_heads)
            try:
                diagnostics.update(features, labels)
            except ValueError as error:
                found["diagnosis"] = str(error)
    return found


def main(folder, ranks, rank):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", world_size=ranks, rank=rank, timeout=timedelta(seconds=60)
    )
    torch.set_num_threads(1)
    results = {}
    for run in (beside, inside, uneven, alone, sharded):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = run(rank)
        results[run.__name__] = {**found, "warnings": [str(each.message) for each in caught]}
    torch.save(results, folder / f"rank{rank}.pt")
    # With the wrapper alive, see distributed_worker.py.
    distributed.destroy_process_group()


if __name__ == "__main__":
    faulthandler.dump_traceback_later(150, exit=True)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
