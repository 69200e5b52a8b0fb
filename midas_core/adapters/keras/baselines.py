"""Baselines in the same model: joint training, also with unimodal losses or modality dropout."""

from __future__ import annotations

from collections.abc import Sequence
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
        Over the batch.
    label_smoothing : float
        As in `MidasLoss`.
    class_weights : sequence of C floats, optional
        As in `MidasLoss`.
    multi_label : bool
        As in `MidasLoss`.
    seed : int, optional
        Of the model's random stream.

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

    reduction, label_smoothing, class_weights = Option(), Option(), Option()
    multi_label, seed = Option(), Option()

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
        self.unimodal_weight = unimodal_weight
        self.dropout = dropout
        self.options = MidasOptions(
            reduction=reduction,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
            multi_label=multi_label,
            seed=seed,
        )

    @property
    def unimodal_weight(self) -> float:
        """Weight of the sum of the unimodal losses."""
        return self._unimodal_weight

    @unimodal_weight.setter
    def unimodal_weight(self, weight: float) -> None:
        self._unimodal_weight: float = check_number("unimodal_weight", weight, minimum=0)

    @property
    def dropout(self) -> float:
        """Share of samples that lose a modality."""
        return self._dropout

    @dropout.setter
    def dropout(self, share: float) -> None:
        self._dropout: float = check_fraction("dropout", share)

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

    @property
    def settings(self) -> tuple[Any, ...]:
        """All that a compiled step has taken for a constant."""
        return (self.options, self.unimodal_weight, self.dropout)

    def check_fits(self, model: Any, vote: float) -> None:
        """Raise ``ValueError`` unless a `MidasModel`, with a vote of that weight, can be compiled with the loss."""
        check_compiled(self.options, model, vote)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        names = ("reduction", "label_smoothing", "class_weights", "multi_label", "seed")
        options = {name: getattr(self.options, name) for name in names}
        return {"unimodal_weight": self.unimodal_weight, "dropout": self.dropout, **options}

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
