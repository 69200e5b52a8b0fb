import torch

from midas_core.compare.methods.dominance import lead, parted_logits, scores
from midas_core.compare.methods.joint import Joint
from tests.compare.methods.stacks import batch, make


def test_the_parts_add_up_to_the_fused_logits():
    model, _ = make(Joint, [0, 1], [1.0, 1.0])
    features = model.features(batch([0, 1]).inputs)
    torch.testing.assert_close(sum(parted_logits(model, features)), model.fuse(features))


def test_scores_by_hand():
    # Softmax of (0, log 3) is (1/4, 3/4).
    logits = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]]) * torch.tensor(3.0).log()
    found = scores([logits, torch.zeros(1, 3, 2)], torch.tensor([[1, 0, 1]]))
    torch.testing.assert_close(found, torch.tensor([[0.75 + 0.25 + 0.5], [1.5]]))


def test_of_two_the_lead_is_their_ratio():
    torch.testing.assert_close(lead(torch.tensor([[6.0, 1.0], [3.0, 4.0]])), torch.tensor([[2.0, 0.25], [0.5, 4.0]]))


def test_of_three_the_lead_is_over_the_mean_of_the_others_and_somebody_never_leads():
    torch.testing.assert_close(lead(torch.tensor([[6.0], [2.0], [1.0]])), torch.tensor([[4.0], [2 / 3.5], [0.25]]))
    drawn = lead(torch.rand(3, 1000, generator=torch.Generator().manual_seed(0)) + 0.1)
    assert (drawn.min(dim=0).values <= 1).all()
