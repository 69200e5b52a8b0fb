"""Baselines in the same model: joint training, also with unimodal losses or modality dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.adapters.keras.step import check_compiled
from midas_core.backends import Array
from midas_core.missing import zero_missing
from midas_core.modalities import leaves
from midas_core.objective import MidasTerms
from midas_core.options import MidasOptions, Option
from midas_core.validation import check_fraction, check_number

ops = keras.ops


@dataclass(frozen=True, kw_only=True)
class JointOptions(MidasOptions):
    """The options of `JointLoss`, checked."""

    unimodal_weight: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "unimodal_weight", check_number("unimodal_weight", self.unimodal_weight, minimum=0))
        object.__setattr__(self, "dropout", check_fraction("dropout", self.dropout))


@keras.saving.register_keras_serializable(package="midas_core")
class JointLoss:
    """Joint training, the baseline of MIDAS, for `MidasModel.compile`: the cross-entropy of the fused logits.

    Parameters
    ----------
    unimodal_weight : float
        Of the sum of the unimodal losses: 1 is joint + unimodal. With 0 the unimodal heads learn beside the model, from
        features as constants: they show in the logs and in a diagnosis what a modality holds.
    dropout : float
        Modality dropout: the share of samples that lose one of their modalities in training, any with the same chance.
    reduction : {"mean", "sum"}
    label_smoothing : float
    class_weights : sequence of C floats, optional
    multi_label : bool
    seed : int, optional
        These five as in `MidasLoss`.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core.adapters.keras import MidasModel
    >>> model = MidasModel([keras.layers.Dense(8), keras.layers.Dense(8)], num_classes=3)
    >>> model.compile("sgd", loss=JointLoss(dropout=0.2), metrics=["accuracy"])
    >>> history = model.fit([np.ones((6, 4)), np.ones((6, 5))], np.arange(6) % 3, verbose=0).history
    >>> sorted(history)
    ['accuracy', 'loss']
    """

    unimodal_weight, dropout, reduction, label_smoothing = Option(), Option(), Option(), Option()
    class_weights, multi_label, seed = Option(), Option(), Option()

    def __init__(
        self,
        *,
        unimodal_weight: float = 0.0,
        dropout: float = 0.0,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        multi_label: bool = False,
        seed: int | None = None,
    ) -> None:
        self.options = JointOptions.among(locals())

    @property
    def method(self) -> str:
        """Name of the method in a run folder."""
        return "joint" + " + unimodal" * (self.unimodal_weight > 0) + " + dropout" * (self.dropout > 0)

    def total(self, terms: MidasTerms) -> Array:
        """Return the loss of each sample, from the terms of a step that has no mixed samples."""
        unimodal = terms.total
        if self.unimodal_weight:
            return terms.aligned + self.unimodal_weight * unimodal
        # The gradient of the unimodal heads, without their value.
        return terms.aligned + (unimodal - ops.stop_gradient(unimodal))

    def check_fits(self, model: Any, vote: float) -> None:
        """Raise ``ValueError`` unless a `MidasModel`, with a vote of that weight, can be compiled with the loss."""
        check_compiled(self.options, model, vote)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        return {name: option for name, option in self.options.as_dict().items() if hasattr(type(self), name)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> JointLoss:
        """Make the loss that `get_config` described."""
        return cls(**config)


def drop_modalities(features: Sequence[Any], share: float, seed: Any) -> list[Any]:
    """Set one modality to zero in a ``share`` in (0, 1] of the samples, any of them with the same chance."""
    batch = ops.shape(leaves(features[0])[0])[0]
    drawn = keras.random.uniform((batch,), dtype="float32", seed=seed)
    # Below 1: the modality floor(M * u / share) is lost. Above: none is.
    lost = ops.floor(drawn / share * len(features))
    return zero_missing(features, ops.stack([lost != m for m in range(len(features))], axis=1), backend=BACKEND)
