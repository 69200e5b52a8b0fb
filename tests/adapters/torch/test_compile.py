"""The criterion under torch.compile gives what it gives eagerly, for any batch size."""

from __future__ import annotations

import copy

import pytest

from tests.backends.test_tracing import inputs

BATCHES = (7, 1, 12)
CLASSES = 4


# What can break is tracing, which both share; the code that inductor writes takes a minute to compile.
CASES = [
    ("inductor", 2, "paper", "additive"),
    ("aot_eager", 2, "paper", "additive, many classes"),
    ("aot_eager", 2, "paper", "two layers"),
    ("aot_eager", 2, "official", "additive"),
    ("aot_eager", 3, "paper", "additive"),
]


@pytest.mark.parametrize(("backend", "modalities", "variant", "kind"), CASES)
def test_torch_compile(compiler, backend, modalities, variant, kind, monkeypatch):
    import torch

    from midas_core.adapters.torch import MidasLoss
    from midas_core.adapters.torch import step as adapter

    monkeypatch.setattr(adapter, "FEW_CLASSES", CLASSES if kind == "additive" else CLASSES - 1)
    torch.manual_seed(0)
    eager = MidasLoss(num_classes=CLASSES, feature_dims=[5] * modalities, variant=variant, seed=0)
    head = torch.nn.Linear(5 * modalities, CLASSES)
    if kind == "two layers":
        head = torch.nn.Sequential(torch.nn.Linear(5 * modalities, 6), torch.nn.Tanh(), torch.nn.Linear(6, CLASSES))
    same = copy.deepcopy(eager)
    compiled = compiler(same, fullgraph=True, backend=backend)

    def steps(criterion, generator):
        """Return loss, gradients and alpha of a step for each size of the batch, one costs inductor another minute."""
        results = []
        for batch in BATCHES if backend == "aot_eager" else (7, 12):
            arrays = inputs(batch, modalities, torch.tensor)
            torch.manual_seed(batch)
            features = [f.clone().requires_grad_() for f in arrays["features"]]
            permutation = torch.roll(torch.arange(batch), 1)
            loss = criterion(features, arrays["labels"], head=head, permutation=permutation, generator=generator)
            loss.backward()
            results.append([loss.detach(), *(f.grad for f in features), eager.alpha.clone(), eager.step.clone()])
        return results

    # Compiled, the assignment of three modalities comes from the global generator.
    expected = steps(eager, torch.default_generator)
    # Each kind goes its own way through the heads.
    for name, few in (("stacked_logits", "additive"), ("additive_logits", "additive, many classes")):
        if kind != few:
            monkeypatch.delattr(adapter, name)
    eager = same
    torch.testing.assert_close(steps(compiled, None), expected, rtol=1e-4, atol=1e-6)


def test_torch_compile_draws_anew_in_every_step(compiler):
    import torch

    from midas_core.adapters.torch import MidasLoss

    torch.manual_seed(0)
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=[5, 5], seed=0)
    compiled = compiler(criterion, fullgraph=True, backend="aot_eager")
    head = torch.nn.Linear(10, CLASSES)
    arrays = inputs(12, 2, torch.tensor)
    losses = {float(compiled(arrays["features"], arrays["labels"], head=head).detach()) for _ in range(6)}
    assert len(losses) > 1


def test_torch_compile_of_warmup_and_evaluation(compiler):
    import torch

    from midas_core.adapters.torch import MidasLoss

    criterion = MidasLoss(num_classes=CLASSES, feature_dims=[5, 5], warmup_epochs=1, seed=0)
    head = torch.nn.Linear(10, CLASSES)
    arrays = inputs(7, 2, torch.tensor)
    arguments = (arrays["features"], arrays["labels"])
    compiled = compiler(criterion, fullgraph=True, backend="aot_eager")
    permutation = torch.roll(torch.arange(7), 1)
    for epoch, training in ((0, True), (1, False), (1, True)):
        criterion.set_epoch(epoch)
        criterion.train(training)
        expected = copy.deepcopy(criterion)(*arguments, head=head, permutation=permutation)
        torch.testing.assert_close(compiled(*arguments, head=head, permutation=permutation), expected)
