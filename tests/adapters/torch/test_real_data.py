"""The PyTorch criterion on real data: weights, label smoothing, several labels, missing modalities."""

import copy

import pytest
import torch
from torch import nn

from midas_core.adapters.torch import MidasLoss
from tests.adapters.torch.test_loss import CLASS_WEIGHTS, CLASSES, WIDTHS, heads, make, real_batch


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_missing_spreads_nowhere(dtype):
    features, labels, more = real_batch(2, {}, ("present",))
    criterion, head = make().to(dtype), nn.Linear(8, CLASSES, dtype=dtype)
    features = [f.to(dtype).requires_grad_() for f in features]
    criterion(features, labels, head=head, **more).backward()
    for m, f in enumerate(features):
        assert (f.grad[~more["present"][:, m]] == 0).all()
        assert (f.grad[more["present"][:, m]] != 0).all()
    for x in (*criterion.parameters(), *head.parameters()):
        assert x.grad.isfinite().all()
    assert criterion.step == 1


def test_present_comes_as_a_tensor_or_as_the_features_do():
    dims = {"audio": 3, "video": 5}
    features, labels, more = real_batch(2, {}, ("present",))
    head = heads(8)["linear"]
    losses = []
    for form in (more["present"], {"video": more["present"][:, 1], "audio": more["present"][:, 0]}):
        torch.manual_seed(0)
        criterion = MidasLoss(num_classes=CLASSES, feature_dims=dims, seed=0).double()
        losses.append(criterion(dict(zip(dims, features, strict=True)), labels, head=head, present=form))
    assert losses[0] == losses[1]
    assert losses[0] == make()(features, labels, head=head, present=list(more["present"].unbind(1)))


def test_the_checkpoint_does_not_hold_the_options():
    plain, criterion = make(), make(class_weights=CLASS_WEIGHTS, label_smoothing=0.1)
    assert plain.state_dict().keys() == criterion.state_dict().keys()
    criterion.load_state_dict(plain.state_dict())
    assert criterion.class_weights.tolist() == list(CLASS_WEIGHTS)
    # As alpha, they keep their digits.
    assert make(class_weights=[0.1] * CLASSES).half().class_weights.tolist() == [0.1] * CLASSES


SEVERAL = {"multi_label": True, "class_weights": torch.tensor(CLASS_WEIGHTS), "label_smoothing": 0.1}


@pytest.mark.parametrize(("options", "modalities"), [(SEVERAL, 3), ({"class_weights": CLASS_WEIGHTS}, 2)])
def test_torch_compile(compiler, options, modalities):
    eager, head = make(modalities, **options), heads(sum(WIDTHS[:modalities]))["linear"]
    same = copy.deepcopy(eager)
    compiled = compiler(same, fullgraph=True, backend="aot_eager")
    for seed in range(2):
        features, labels, more = real_batch(modalities, options, ("sample_weight", "present"), seed)
        permutation = torch.roll(torch.arange(len(labels)), 1)
        results = []
        for criterion in (eager, compiled):
            given = [f.clone().requires_grad_() for f in features]
            loss = criterion(given, labels, head=head, permutation=permutation, **more)
            loss.backward()
            results.append([loss.detach(), *(f.grad for f in given)])
        torch.testing.assert_close(results[1], results[0])
        torch.testing.assert_close(same.alpha, eager.alpha)


def test_raw_inputs_of_any_dtype_for_a_model_that_fuses_early():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.out = nn.EmbeddingBag(7, 4), nn.Linear(9, CLASSES)

        def forward(self, inputs):
            return self.out(torch.cat([self.words(inputs["text"]), inputs["audio"]], dim=1))

    torch.manual_seed(0)
    heads = {"text": nn.EmbeddingBag(7, CLASSES), "audio": nn.Linear(5, CLASSES)}
    options = {"num_classes": CLASSES, "unimodal_heads": heads, "head_input": "separate"}
    inputs, labels = {"text": torch.randint(7, (9, 6)), "audio": torch.randn(9, 5)}, torch.arange(9) % CLASSES
    model, criterion = Model(), MidasLoss(similarity=None, **options)
    criterion(inputs, labels, head=model, present=torch.rand(9, 2) < 0.7).backward()
    assert all(x.grad.isfinite().all() for x in (*model.parameters(), *criterion.parameters()))
    with pytest.raises(TypeError, match="features of modality 'text': expected a real floating dtype"):
        MidasLoss(**options)(inputs, labels, head=model)
