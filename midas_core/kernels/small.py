"""What `midas_core.kernels.eager` does, for small batches on a CPU: there a call costs more than its numbers.

The tensors are looked at as NumPy's arrays, and `midas_core.kernels.numba` loops over them. Values may be looked at:
they lie in the memory of the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from midas_core import weighting
from midas_core.backends.numpy import BACKEND as NUMPY
from midas_core.backends.torch import BACKEND as TORCH
from midas_core.cross_entropy import Targets, label_weights
from midas_core.kernels import eager
from midas_core.kernels import numba as loops
from midas_core.kernels.plan import Losses, Plan, Slopes
from midas_core.missing import complete_pairs, unimodal_scale
from midas_core.pairing import Pairs
from midas_core.partners import VIEWS
from midas_core.weighting import MidasState, PairWeights


class Logs(NamedTuple):
    """As `midas_core.kernels.eager.Logs`, of NumPy arrays, with what the other functions need.

    Attributes
    ----------
    labels, sources, classes : array, integer
        Those of the `Plan`.
    own, mixed : array, shapes (M + 1, B) and (M, V, B)
    means : array, shape (M + 1 + V, B)
        0 where labels are not smoothed.
    scales : array, shape (M + 1 + V, B)
        What makes probabilities of exponentials.
    """

    labels: Any
    sources: Any
    classes: Any
    own: Any
    mixed: Any
    means: Any
    scales: Any


class Weights(NamedTuple):
    """As `midas_core.kernels.eager.Weights`, of NumPy arrays."""

    own: Any
    mixed: Any


def pairs_of_two(labels: Any, numbers: Any, num_classes: int) -> tuple[Pairs, int]:
    """Return pairs of two modalities, of NumPy arrays, and where the first label lies that is no class, or -1."""
    shape = (2, VIEWS, len(labels))
    found = Pairs(np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape[1:], np.bool_))
    return found, loops.pairs_of_two(labels, numbers, num_classes, *found[:3])


def softmax_(plan: Plan, own: Tensor, fused: Tensor, parts: Tensor | None) -> Logs:
    """Turn logits into their exponentials in place; return the logarithms of probabilities that a loss asks for."""
    rows, labels, (sources, classes, *_) = (own.numpy(), fused.numpy()), plan.labels.numpy(), plan.pairs
    sources, classes = sources.numpy(), classes.numpy()
    if parts is None and plan.present is not None:
        rows[0][~plan.present.numpy().T] = 0
        rows[1][1:][~complete_pairs(plan.present.numpy(), sources, backend=NUMPY)] = 0
    (count, batch, _), exact = own.shape, rows[0].dtype
    at_label, mixed = np.empty((count + 1, batch), exact), np.empty(sources.shape, exact)
    means, scales = np.empty((2, count + 1 + VIEWS, batch), exact)
    smooth = plan.label_smoothing > 0
    loops.lowered_(*rows, _array(parts, exact), labels, sources, classes, smooth, at_label, mixed, means)
    with np.errstate(all="ignore"):
        # By vector instructions, which Numba does not use for exponentials.
        for x in rows:
            np.exp(x, out=x)
    loops.normalized_(*rows, at_label, mixed, means, scales)
    return Logs(labels, sources, classes, at_label, mixed, means, scales)


def losses_of(plan: Plan, logs: Logs, features: Sequence[Tensor]) -> tuple[Losses, PairWeights, Weights]:
    """Return the losses, what weighed the pairs, and what each cross-entropy counts."""
    sources, mask, count, exact = logs.sources, plan.pairs.mask.numpy(), len(logs.sources), logs.own.dtype
    weights = np.full(logs.own.shape, plan.scale, exact)
    by_label: Any = np.empty(0, exact)
    if plan.present is not None:
        present = plan.present.numpy()
        mask = mask & complete_pairs(present, sources, backend=NUMPY)
        weights[:-1] *= unimodal_scale(present, exact, NUMPY)
    targets = plan.targets
    if targets.sample_weight is not None or targets.class_weights is not None:
        by_label = label_weights(Targets(*map(_to_numpy, targets[:3])), exact, NUMPY)
        weights *= by_label
    similarities = _similarities(features, sources, plan.similarity, exact)
    scales = (plan.scale / VIEWS, plan.label_smoothing, plan.unimodal_factor, plan.weight)
    found = np.empty(3 + count, exact)
    given = (logs.own, logs.mixed, logs.means, mask, sources)
    if plan.options["variant"] == "paper" and plan.options["reduce"] is None:
        alpha, step = plan.state.alpha.numpy(), int(plan.state.step)
        soft_weights, after, means = np.empty(sources.shape, exact), np.empty_like(alpha), np.empty((3, count), exact)
        rule = (similarities, alpha, step == 0, *_alpha_rule(plan.options))
        moved = loops.weighed_losses_(*given, *rule, weights, by_label, *scales, soft_weights, after, means, found)
        next_state = MidasState(torch.from_numpy(after), torch.tensor(step + moved))
        used, own_share, fused_share = map(torch.from_numpy, means)
        pairs = PairWeights(torch.from_numpy(soft_weights), used, own_share, fused_share, next_state)
    else:
        own, mixed, counts, similar = map(torch.from_numpy, (*given[:2], mask, similarities))
        pairs = weighting.weigh_pairs(
            own[:-1], mixed, counts, plan.pairs.sources, similar, plan.state, **plan.options, backend=TORCH
        )
        soft_weights = pairs.soft_weights.contiguous().numpy()
        loops.losses_alone_(*given, weights, by_label, *scales, soft_weights, found)
    # 0-d arrays, not numbers.
    total, aligned, misaligned = (torch.from_numpy(found[k, ...]) for k in range(3))
    return Losses(total, aligned, torch.from_numpy(found[3:]), misaligned), pairs, Weights(weights, soft_weights)


def logits_gradient_(
    plan: Plan, own: Tensor, fused: Tensor, parts: Tensor | None, logs: Logs, weights: Weights, slopes: Slopes
) -> list[Tensor]:
    """Turn exponentials into the gradient of the logits in place, and its sums over the batch, as the eager one."""
    (count, _, num_classes), exact = own.shape, logs.scales.dtype
    by_head, sums = np.empty(count + 2, exact), np.zeros((count + 1, num_classes), exact)
    by_head[:count] = np.asarray(slopes.unimodal).reshape(-1)
    by_head[count], by_head[count + 1] = float(slopes.aligned), float(slopes.misaligned)
    loops.gradient_(
        *(own.numpy(), fused.numpy(), logs.scales, _array(parts, exact), logs.labels, logs.sources, logs.classes),
        *(weights.own, weights.mixed, by_head, plan.label_smoothing, sums),
    )
    return [torch.from_numpy(x) for x in sums]


def _array(parts: Tensor | None, dtype: Any) -> Any:
    return np.empty((0, 0, 0), dtype) if parts is None else parts.numpy()


def _alpha_rule(options: dict[str, Any]) -> tuple[float, bool, float]:
    cap = options["max_alpha"]
    return float(options["eta"]), options["alpha_update"] == "sign", float("inf") if cap is None else float(cap)


def _to_numpy(x: Tensor | None) -> Any:
    return None if x is None else x.detach().numpy()


def _similarities(features: Sequence[Tensor], sources: Any, kind: str | None, dtype: Any) -> Any:
    if kind is None:
        # Eq. 8 then weighs by 1.
        return np.full(sources.shape[1:], -1.0, dtype)
    if kind != "cosine":
        return eager.similarity(features, torch.from_numpy(sources), kind).numpy()
    flat = [TORCH.in_full_precision(x.detach().flatten(1)).contiguous() for x in features]
    if len({x.dtype for x in flat}) > 1:
        flat = [x.double() for x in flat]
    arrays = tuple([x.numpy() for x in flat])
    found = np.empty(sources.shape[1:], arrays[0].dtype)
    loops.cosines(arrays, sources, found)
    return found
