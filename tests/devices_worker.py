"""Takes every usage of a step on the host and on a device that pretends to be a GPU; prints what came out as JSON.

The arguments are the names of usages; without any, all of them.
"""

import copy
import json
import sys
import traceback
from typing import Any

import torch
from torch.testing import assert_close

from benchmarks.problem import Problem, Size
from benchmarks.steps import joint_unimodal_loss, midas_loss
from benchmarks.usages import USAGES
from midas_core.adapters.torch import Misalign
from tests.pretend_device import DEVICE, Pretending, to_device, to_host

SIZE = Size(16, 5, 8)


class _Generator(torch.Generator):
    """Says that it lies on a device, and draws the numbers of the host."""

    def __new__(cls, device: Any = "cpu"):
        made = super().__new__(cls, "cpu")
        made.device = torch.device(device)
        return made

    device: Any = None


def problem(usage: Any) -> Problem:
    return Problem(SIZE._replace(modalities=usage.modalities), usage=usage)


def moved(p: Problem) -> Problem:
    """Return the problem on the device."""
    p = copy.copy(p)
    p.features = [x.requires_grad_() for x in to_device(p.features)]
    p.labels, p.beside = to_device(p.labels), to_device(p.beside)
    p.head, p.criterion = _module(p.head), _module(p.criterion)
    p.device = str(DEVICE)
    # At the start of an epoch: what is read but once, since its buffer came here, is read now.
    with Pretending():
        p.criterion.set_epoch(0)
    return p


def _module(module: torch.nn.Module) -> torch.nn.Module:
    module = copy.deepcopy(module)
    for part in module.modules():
        for name, x in part._parameters.items():
            if x is not None:
                part._parameters[name] = torch.nn.Parameter(to_device(x))
        for name, x in part._buffers.items():
            part._buffers[name] = to_device(x)
    return module


def gradients(loss: torch.Tensor, p: Problem) -> list[torch.Tensor]:
    # backward() of PyTorch 2.13 cannot accumulate on a device that is written in Python.
    found = torch.autograd.grad(loss, p.leaves, allow_unused=True)
    return [x for x in found if x is not None]


def take(name: str) -> dict[str, Any]:
    """Take two steps of a way in both places; return the operations of the second on the device."""
    on_host = problem(USAGES[name])
    there = moved(on_host)
    for _ in range(2):
        expected = midas_loss(on_host)()
        expected = [expected, *gradients(expected, on_host), on_host.criterion.alpha, on_host.criterion.step]
        with Pretending() as mode:
            found = midas_loss(there)()
            found = [found, *gradients(found, there), there.criterion.alpha, there.criterion.step]
        for one, other in zip(found, expected, strict=True):
            assert_close(to_host(one), other.detach(), rtol=1e-4, atol=1e-6)
    with Pretending() as beside:
        gradients(joint_unimodal_loss(there)(), there)
    return {"operations": len(mode.launches), "joint + unimodal": len(beside.launches)}


def half_precision() -> dict[str, Any]:
    """Take a step in bfloat16, features and heads."""
    on_host = Problem(SIZE, dtype=torch.bfloat16)
    there = moved(on_host)
    expected = midas_loss(on_host)()
    with Pretending() as mode:
        found = midas_loss(there)()
        gradients(found, there)
    assert_close(to_host(found), expected.detach(), rtol=1e-2, atol=1e-2)
    return {"operations": len(mode.launches)}


def weigh_terms() -> dict[str, Any]:
    """Weigh the terms in a way of one's own."""
    there = moved(problem(USAGES["plain"]))
    with Pretending() as mode:
        terms = there.criterion.terms(there.features, there.labels, head=there.head)
        gradients(terms.aligned + 2 * terms.misaligned, there)
    return {"operations": len(mode.launches)}


def evaluate() -> dict[str, Any]:
    """Evaluate without a gradient."""
    there = moved(problem(USAGES["plain"]))
    there.criterion.eval()
    with Pretending() as mode, torch.no_grad():
        midas_loss(there)()
    return {"operations": len(mode.launches)}


def misalign() -> dict[str, Any]:
    """Mix a batch as an augmentation, with confidences and missing modalities."""
    p = problem(USAGES["present"])
    heads, layer = list(p.criterion.unimodal_heads), Misalign(num_classes=SIZE.classes, seed=0)

    def mix(p: Problem, heads: list[Any]) -> Any:
        logits = [head(x) for head, x in zip(heads, p.features, strict=True)]
        return layer(p.features, p.labels, unimodal_logits=logits, present=p.beside["present"])

    expected = mix(p, heads)
    layer = Misalign(num_classes=SIZE.classes, seed=0)
    there = moved(p)
    with Pretending() as mode:
        found = mix(there, list(there.criterion.unimodal_heads))
    for one, other in zip([*found[0], *found[1:]], [*expected[0], *expected[1:]], strict=True):
        assert_close(to_host(one), other.detach())
    return {"operations": len(mode.launches)}


def forbidden(what: Any) -> Any:
    """Return what does something on the device that no step may do."""

    def do() -> dict[str, Any]:
        x = to_device(torch.ones(3))
        with Pretending():
            what(x)
        return {}

    return do


MORE = {
    "half precision": half_precision,
    "weighed terms": weigh_terms,
    "evaluation": evaluate,
    "Misalign": misalign,
    "item": forbidden(lambda x: float(x[0])),
    "mask": forbidden(lambda x: x[x > 0]),
    "nonzero": forbidden(lambda x: x.nonzero()),
    "copy to the host": forbidden(lambda x: x.cpu()),
    "copy to the device": forbidden(lambda x: torch.ones(3).to(DEVICE)),
    "two devices": forbidden(lambda x: x + torch.ones(3)),
}


def main() -> None:
    torch.Generator = _Generator  # type: ignore[misc]
    found: dict[str, Any] = {}
    for name in sys.argv[1:] or [*USAGES, *MORE]:
        try:
            found[name] = MORE[name]() if name in MORE else take(name)
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}\n{traceback.format_exc()}"}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
