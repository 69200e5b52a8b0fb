import numpy as np
import pytest
import torch

from benchmarks.accuracy.methods import CONFIDENCES, METHODS
from benchmarks.accuracy.methods.midas_confidence import OutOfFold, RememberedConfidence, Temperature
from tests.benchmarks.accuracy.methods.stacks import batch, make, step

SEEDS = (3, 1)


class Whole:
    """Training data of one batch."""

    def __init__(self, given):
        self.given = given

    def __len__(self):
        return self.given.labels.shape[1]

    def batches(self, epoch):
        yield self.given


def stepped(method, given):
    model, made = make(method, SEEDS, (1.0, 2.0))
    made.start_epoch(model, Whole(given), 0)
    return step(model, made, given), [p.grad for p in model.parameters()]


def test_with_the_confidence_of_the_step_it_is_midas():
    class Same(RememberedConfidence):
        momentum = 0.0

    given = batch(SEEDS)
    model, made = make(Same, SEEDS, (1.0, 2.0))
    made.end_epoch(model, Whole(given), 0)
    torch.testing.assert_close(step(model, made, given), stepped(METHODS["MIDAS"], given)[0])


def test_at_a_temperature_of_one_it_is_midas():
    class One(Temperature):
        temperature = 1.0

    given = batch(SEEDS)
    for mine, others in zip(*(stepped(method, given)[1] for method in (One, METHODS["MIDAS"])), strict=True):
        torch.testing.assert_close(mine, others)


def test_even_labels_have_no_confidence():
    given = batch(SEEDS)
    _, made = make(CONFIDENCES["MIDAS (even labels)"], SEEDS, (1.0, 2.0))
    assert not made.more(given).any()


def test_the_running_average_by_hand():
    given = batch(SEEDS)
    model, made = make(RememberedConfidence, SEEDS, (1.0, 2.0))
    assert made.more(given) is None
    made.end_epoch(model, Whole(given), 0)
    first = made.memory
    with torch.no_grad():
        own = model.unimodal(model.features(given.inputs))[1].softmax(-1)
    torch.testing.assert_close(first[1, 1, 5], own[1, 5, given.labels[1, 5]])
    with torch.no_grad():
        model.unimodal_heads[1].bias += torch.randn_like(model.unimodal_heads[1].bias)
        now = model.unimodal(model.features(given.inputs))[1].softmax(-1)[1, 5, given.labels[1, 5]]
    made.end_epoch(model, Whole(given), 1)
    torch.testing.assert_close(made.memory[1, 1, 5], 0.9 * first[1, 1, 5] + 0.1 * now)
    torch.testing.assert_close(made.more(given)[1, 1, 5], made.memory[1, 1, 5].log())


def test_out_of_fold_confidences_are_those_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    given = batch(SEEDS)
    # Five folds of four classes need five samples of each.
    given = type(given)(
        [x.repeat(1, 2, 1) for x in given.inputs], given.labels.repeat(1, 2), torch.arange(24).expand(2, -1), 9
    )
    model, made = make(OutOfFold, SEEDS, (1.0, 2.0))
    made.start_epoch(model, Whole(given), 0)
    x, y = given.inputs[1][0].numpy(), given.labels[0].numpy()
    found = cross_val_predict(LogisticRegression(C=0.1, max_iter=200), x, y, method="predict_proba")
    np.testing.assert_allclose(made.more(given)[0, 1].exp(), found[np.arange(24), y], rtol=1e-2)


@pytest.mark.parametrize("title", CONFIDENCES)
def test_a_stack_is_its_models(title):
    method = CONFIDENCES[title]
    given = batch(SEEDS)
    given = type(given)(
        [x.repeat(1, 2, 1) for x in given.inputs], given.labels.repeat(1, 2), torch.arange(24).expand(2, -1), 9
    )
    together, _ = stepped(method, given)
    for k, (seed, strength) in enumerate(zip(SEEDS, (1.0, 2.0), strict=True)):
        model, made = make(method, [seed], [strength])
        alone = type(given)([x[k : k + 1] for x in given.inputs], given.labels[k : k + 1], given.index[k : k + 1], 9)
        made.start_epoch(model, Whole(alone), 0)
        torch.testing.assert_close(step(model, made, alone)[0], together[k])
