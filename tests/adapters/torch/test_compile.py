"""The criterion under torch.compile gives what it gives eagerly, for any batch size."""

import copy

import pytest
import torch

from midas_core.adapters.torch import MidasLoss, heads
from tests.backends.test_tracing import inputs

BATCHES = (7, 1, 12)
CLASSES = 4


# What can break is tracing, which both share; the code that inductor writes takes a minute to compile.
CASES = [
    ("inductor", 2, "paper", "additive"),
    ("aot_eager", 2, "official", "additive, many classes"),
    ("aot_eager", 3, "paper", "two layers"),
    ("aot_eager", 3, "paper", "additive"),
]


@pytest.mark.parametrize(("backend", "modalities", "variant", "kind"), CASES)
def test_torch_compile(compiler, backend, modalities, variant, kind, monkeypatch):
    monkeypatch.setattr(heads, "FEW_CLASSES", CLASSES if kind == "additive" else CLASSES - 1)
    torch.manual_seed(0)
    eager = MidasLoss(num_classes=CLASSES, feature_dims=[5] * modalities, variant=variant, seed=0)
    head = torch.nn.Linear(5 * modalities, CLASSES)
    if kind == "two layers":
        head = torch.nn.Sequential(torch.nn.Linear(5 * modalities, 6), torch.nn.Tanh(), torch.nn.Linear(6, CLASSES))
    same = copy.deepcopy(eager)
    # Inductor compiles for a minute: once, for every size.
    compiled = compiler(same, fullgraph=True, backend=backend, dynamic=backend == "inductor" or None)

    def steps(criterion):
        """Return loss, gradients and alpha of a step for each size of the batch; one alone would be another graph."""
        results = []
        for batch in BATCHES if backend == "aot_eager" else (7, 12):
            arrays = inputs(batch, modalities, torch.tensor)
            features = [f.clone().requires_grad_() for f in arrays["features"]]
            permutation = torch.roll(torch.arange(batch), 1)
            loss = criterion(features, arrays["labels"], head=head, permutation=permutation)
            loss.backward()
            results.append([loss.detach(), *(f.grad for f in features), eager.alpha.clone(), eager.step.clone()])
        return results

    expected = steps(eager)
    # Each kind goes its own way through the heads.
    monkeypatch.delattr(heads, "additive_logits" if kind == "additive" else "stacked_logits")
    eager = same
    torch.testing.assert_close(steps(compiled), expected, rtol=1e-4, atol=1e-6)


def test_a_compiled_step_draws_what_an_eager_one_does(compiler):
    # Three modalities, and absent partners: every kind of random number. In evaluation every call draws the same, and
    # moves nothing; a resumed run goes on.
    arrays, head = inputs(12, 3, torch.tensor), torch.nn.Linear(15, CLASSES)
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=[5] * 3, absent_share=0.4, eta=0, seed=0)

    def losses(run, module, steps=3):
        def loss():
            return run(arrays["features"], arrays["labels"], head=head).item()

        trained, before = [loss() for _ in range(steps)], module.state_dict()["_extra_state"]
        module.eval()
        evaluated = [loss() for _ in range(2)]
        assert torch.equal(module.state_dict()["_extra_state"], before)
        module.train()
        return trained, evaluated

    eager, traced = copy.deepcopy(criterion), copy.deepcopy(criterion)
    compiled = compiler(traced, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        (expected, shown), (trained, evaluated) = losses(eager, eager), losses(compiled, traced)
        assert trained == pytest.approx(expected)
        assert evaluated == pytest.approx(shown)
        assert len(set(trained)) == 3
        assert evaluated[0] == evaluated[1]
        # Another criterion goes on where this one stood.
        eager = copy.deepcopy(criterion)
        eager.load_state_dict(traced.state_dict())


def test_a_schedule_of_options_in_compiled_steps(compiler):
    torch.manual_seed(0)
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=[5, 5], eta=0, class_weights=[1] * CLASSES, seed=0)
    arrays, head, graphs = inputs(12, 2, torch.tensor), torch.nn.Linear(10, CLASSES), []

    def counted(graph, example):
        graphs.append(graph)
        return graph.forward

    def run(module):
        return module(arrays["features"], arrays["labels"], head=head, permutation=torch.arange(12).roll(1))

    compiled = compiler(run, fullgraph=True, backend=counted)
    for epoch in range(5):
        criterion.weight = 0.5 + 0.1 * epoch
        criterion.class_weights = [1.0, 1.0, 1.0, 1.0 + epoch]
        torch.testing.assert_close(compiled(criterion), run(criterion))
    # A number that changes becomes a variable of the second graph.
    assert len(graphs) <= 2


def test_torch_compile_of_warmup_and_evaluation(compiler):
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
