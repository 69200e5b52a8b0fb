"""A Keras model with one encoder for each modality, trained with MIDAS by ``fit``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.adapters.keras.baselines import drop_modalities
from midas_core.adapters.keras.forward_pass import Pass, is_in_step, keep_pass
from midas_core.adapters.keras.functional import split_functional
from midas_core.adapters.keras.heads import (
    FusedHead,
    HeadRun,
    check_layers,
    check_logits,
    check_no_activation,
    check_width,
    head_precision,
)
from midas_core.adapters.keras.inputs import presence, split_present, zero_missing_inputs
from midas_core.adapters.keras.logs import TermLogs
from midas_core.adapters.keras.masks import with_masks_of
from midas_core.adapters.keras.state import StateLayer
from midas_core.adapters.keras.training import Trained, check_vote
from midas_core.backends import Array
from midas_core.ensemble import ensemble_logits
from midas_core.missing import zero_missing
from midas_core.modalities import Modalities
from midas_core.options import HEAD_INPUTS
from midas_core.validation import check_choice, check_fraction, check_number

ops = keras.ops
Layer = keras.layers.Layer


@keras.saving.register_keras_serializable(package="midas_core")
class MidasModel(Trained):
    """A multimodal classifier: encoders, a fused head, and a unimodal head for each modality.

    ``compile`` takes a `MidasLoss`, or a `JointLoss` to compare with; everything else is as on any Keras model.
    Predictions are the fused logits, unless ``probabilities`` or ``ensemble_weight`` say otherwise. With
    ``compile(..., log_terms=True)`` the logs also show each loss term, alpha, and the confidences of each modality
    (``alpha_audio``, ``confidence_audio`` ...).

    Parameters
    ----------
    encoders : list of layers, or dict of layers by modality name
        Each from its input to a feature (B, D_m). Or one functional model, from all inputs to a list or dict of
        features.
    num_classes : int
        Number of classes, C.
    head : layer, optional
        The fused head, from the features to (B, C) logits. Without one: concatenation and one Dense layer.
    head_input : {"concatenated", "separate"}
        Whether ``head`` takes the features concatenated along axis 1, or as a list or dict like ``encoders``.
    unimodal_heads : list of layers, or dict of layers by modality name, optional
        From a feature to (B, C) logits. Without them: one Dense layer each.
    probabilities : bool or {"softmax", "sigmoid"}
        Whether the predictions are probabilities instead of logits; True is softmax, for multi-label take "sigmoid".
    ensemble_weight : float
        Share of the unimodal heads in the predictions, in [0, 1]: above 0 these are a soft vote of all heads, see
        `midas_core.ensemble_logits`, and so are what metrics see. The loss is the same. Several labels for each sample
        take ``probabilities="sigmoid"`` with it.
    **kwargs
        ``name``, ``dtype`` and ``trainable``, as for any model.

    Attributes
    ----------
    alpha : Variable, shape (M,)
        What the next step will use.
    step : Variable, shape (), int32
        Updates of alpha so far.
    epoch : Variable, shape (), int32
        Epochs trained so far, all calls of ``fit`` together.
    ensemble_weight : float
        May be set at any time; choose it on validation data.

    Raises
    ------
    TypeError, ValueError
        If the parts do not fit together.

    Notes
    -----
    ``compile`` keeps alpha, step and epoch, as it keeps all weights; ``initial_alpha`` holds until the first step.
    ``sample_weight`` and ``class_weight`` multiply every cross-entropy at the label of a sample, also of mixed samples.
    Where the modalities have names, the inputs may hold ``"present"``, (B, M) or a dict of (B,), bool or numbers that
    are 0 or not: whether a sample has a modality. Features that are missing count as zeros, and missing inputs may be
    NaN. Other keys are left alone. Labels in NumPy, pandas or a list are looked at once, before the first step.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core.adapters.keras import MidasLoss
    >>> encoders = {name: keras.layers.Dense(8, activation="relu") for name in ("audio", "video")}
    >>> model = MidasModel(encoders, num_classes=3)
    >>> model.compile(optimizer="adam", loss=MidasLoss(warmup_epochs=1), metrics=["accuracy"])
    >>> x = {"audio": np.ones((6, 4), "float32"), "video": np.ones((6, 5), "float32")}
    >>> history = model.fit(x, np.arange(6) % 3, epochs=2, verbose=0)
    >>> model.predict(x, verbose=0).shape
    (6, 3)
    """

    def __init__(
        self,
        encoders: Any,
        num_classes: int,
        *,
        head: Any = None,
        head_input: str = "concatenated",
        unimodal_heads: Any = None,
        probabilities: bool | str = False,
        ensemble_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes = check_number("num_classes", num_classes, minimum=2, whole=True)
        check_choice("head_input", head_input, HEAD_INPUTS)
        self.head_input = head_input
        check_choice("probabilities", probabilities, (False, True, "softmax", "sigmoid"))
        self.probabilities: bool | str = "softmax" if probabilities is True else probabilities
        self.ensemble_weight = ensemble_weight
        # A backbone has all inputs and all features; else there is an encoder for each modality.
        self._has_backbone = isinstance(encoders, Layer)
        if isinstance(encoders, Layer):
            structure = getattr(encoders, "output", None) if isinstance(encoders, keras.Model) else None
            if not isinstance(structure, (Mapping, list, tuple)):
                raise TypeError(
                    "encoders: expected a list or dict of layers, or one functional model with a list or dict of "
                    f"features as output, got {type(encoders).__name__}"
                )
            self.modalities = Modalities(structure, "output of encoders")
            self.encoders = [encoders]
        else:
            self.modalities = Modalities(encoders, "encoders")
            self.encoders = self.modalities.unpack(encoders, "encoders")
            check_layers("encoders", self.encoders, self.modalities)

        precision = head_precision(self.variable_dtype)
        self._own_head, self._own_unimodal_heads = head is None, unimodal_heads is None
        if head is None:
            if head_input != "concatenated":
                raise ValueError("head_input: expected 'concatenated' with the default head, got 'separate'")
            head = keras.layers.Dense(num_classes, dtype=precision, name="head")
        elif not isinstance(head, Layer):
            raise TypeError(f"head: expected a Keras layer or model, got {type(head).__name__}")
        self.head = head
        check_width("head", head, num_classes)
        check_no_activation("head", head, num_classes)
        if unimodal_heads is None:
            names = self.modalities.shown_names
            heads = [keras.layers.Dense(num_classes, dtype=precision, name=f"head_{name}") for name in names]
        else:
            heads = self.modalities.unpack(unimodal_heads, "unimodal_heads")
            check_layers("unimodal_heads", heads, self.modalities)
            for m, item in enumerate(heads):
                check_width(f"unimodal head of {self.modalities.title(m)}", item, num_classes)
                check_no_activation(f"unimodal head of {self.modalities.title(m)}", item, num_classes)
        self.unimodal_heads = heads
        self.midas_state = StateLayer(self.modalities.count, dtype=self.dtype_policy, name="midas_state")
        self.terms = TermLogs(self.modalities.shown_names)

    @classmethod
    def from_functional(
        cls,
        model: Any,
        *,
        features: Any,
        head: str | None = None,
        num_classes: int | None = None,
        **kwargs: Any,
    ) -> MidasModel:
        """Turn a functional multimodal model, trained or not, into a `MidasModel` with the same layers.

        Parameters
        ----------
        model : keras.Model
            Functional.
        features : list, or dict by modality name, of str or KerasTensor
            The layers whose outputs are the features, or tensors of the model: where a layer is called more than once.
        head : str or KerasTensor, optional
            The layer whose output are the fused logits; without it, the model's output. A softmax or sigmoid
            at the end is split off, and the predictions stay probabilities.
        num_classes : int, optional
            C; without it, the width of the head.
        **kwargs
            As for `MidasModel`.

        Returns
        -------
        MidasModel
            Built. Shares all layers with ``model``: training the one trains the other, so that ``model`` is the plain
            classifier when training has ended.

        Raises
        ------
        TypeError, ValueError
            If a layer is not there, a feature depends on another modality, or the head on more than the features.
        """
        parts = split_functional(model, features, head)
        width = parts.head.output_shape[-1]
        kwargs.setdefault("probabilities", parts.activation)
        made = cls(
            parts.backbone,
            width if num_classes is None else num_classes,
            head=parts.head,
            head_input="separate",
            **kwargs,
        )
        made.build(keras.tree.map_structure(lambda x: x.shape, model.input))
        return made

    @property
    def alpha(self) -> Any:
        """The weights of the modalities in the next step."""
        return self.midas_state.alpha

    @property
    def step(self) -> Any:
        """Updates of alpha so far."""
        return self.midas_state.step

    @property
    def epoch(self) -> Any:
        """Epochs trained so far."""
        return self.midas_state.epoch

    @property
    def ensemble_weight(self) -> float:
        """Share of the unimodal heads in the predictions."""
        return self._ensemble_weight

    @ensemble_weight.setter
    def ensemble_weight(self, weight: float) -> None:
        weight = check_fraction("ensemble_weight", weight)
        check_vote(weight, self.probabilities, getattr(self, "loss", None))
        self._ensemble_weight = weight
        # Compiled with the weight that was.
        self.train_function = self.test_function = self.predict_function = None

    def set_epoch(self, epoch: int) -> None:
        """Say how many epochs have passed, where ``fit`` does not count: with ``train_on_batch``."""
        self.midas_state.set_epoch(epoch)

    def encode(self, inputs: Any, training: bool = False) -> list[Array]:
        """Return the features in the order of the modalities, zeros for what is missing.

        Parameters
        ----------
        inputs : list, tuple or dict
            As for a call of the model.
        training : bool

        Returns
        -------
        list of M tensors, shapes (B, D_m)
        """
        return self._features(inputs, training)[0]

    def _features(self, inputs: Any, training: bool) -> tuple[list[Array], Array | None]:
        """Return the features, and the mask of what is present, if there is one."""
        inputs, present = split_present(inputs, self.modalities)
        if present is not None:
            batch = getattr(keras.tree.flatten(inputs)[0], "shape", (None,))[0]
            present = presence(present, batch, self.modalities)
        if self._has_backbone:
            features = self.modalities.unpack(self.encoders[0](inputs, training=training), "output of encoders")
        else:
            names = self.modalities.names
            if isinstance(inputs, Mapping) and names is not None and set(names) <= set(inputs):
                inputs = {name: inputs[name] for name in names}
            given = self.modalities.unpack(inputs, "inputs")
            if present is not None:
                given = zero_missing_inputs(given, present)
            features = [encoder(x, training=training) for encoder, x in zip(self.encoders, given, strict=True)]
        if present is not None:
            features = with_masks_of(features, zero_missing(features, present, backend=BACKEND))
        return features, present

    def _forward(self, inputs: Any, training: bool, for_loss: bool) -> Pass:
        """Run encoders and head; the unimodal heads too where the loss needs them or they have a vote.

        Not in the loss itself: on JAX, Keras collects the losses of layers in the forward pass alone.
        """
        features, present = self._features(inputs, training)
        head, given = self._fused(training), features
        share = getattr(getattr(self, "loss", None), "dropout", 0.0)
        if training and share:
            given = with_masks_of(features, drop_modalities(features, share, self.midas_state.seed_generator))
        run = head.run(given) if for_loss else HeadRun(head(given), None)
        logits, unimodal_logits = run.logits, None
        if for_loss or self.ensemble_weight > 0:
            unimodal_logits = self._unimodal_logits(features, training)
        if unimodal_logits is not None and self.ensemble_weight > 0:
            logits = ensemble_logits(
                logits,
                unimodal_logits,
                weight=self.ensemble_weight,
                present=present,
                multi_label=self.probabilities == "sigmoid",
                backend=BACKEND,
            )
        activate = {"softmax": ops.softmax, "sigmoid": ops.sigmoid, False: lambda x: x}[self.probabilities]
        return Pass(self, features, present, head, run, unimodal_logits, activate(logits))

    def call(self, inputs: Any, training: bool = False) -> Array:
        """Return the logits, or the probabilities, of shape (B, C)."""
        found = self._forward(inputs, training, for_loss=is_in_step())
        keep_pass(found)
        return found.predictions

    def build(self, input_shape: Any) -> None:
        """Make all weights, from the shapes of the inputs."""
        # A backbone knows the dtypes too.
        known = self.encoders[0].input if self._has_backbone else None
        symbols = keras.tree.map_shape_structure(keras.KerasTensor, input_shape) if known is None else known
        features = self.encode(split_present(symbols, self.modalities)[0])
        for m, feature in enumerate(features):
            title = self.modalities.title(m)
            if len(feature.shape) != 2 and (self._own_head or self._own_unimodal_heads):
                raise ValueError(f"features of {title}: expected shape (B, D), got {feature.shape}")
            logits = self.unimodal_heads[m](feature)
            check_logits(f"unimodal head of {title}", logits, self.num_classes)
        self._fused(training=False)(features)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the model again."""
        serialize = keras.saving.serialize_keras_object

        def packed(items: list[Any]) -> Any:
            names = self.modalities.names
            return serialize(list(items) if names is None else dict(zip(names, items, strict=True)))

        return {
            **super().get_config(),
            "encoders": serialize(self.encoders[0]) if self._has_backbone else packed(self.encoders),
            "num_classes": self.num_classes,
            "head": None if self._own_head else serialize(self.head),
            "head_input": self.head_input,
            "unimodal_heads": None if self._own_unimodal_heads else packed(self.unimodal_heads),
            "probabilities": self.probabilities,
            "ensemble_weight": self.ensemble_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MidasModel:
        """Make the model that `get_config` described."""
        parts = {name: config[name] for name in ("encoders", "head", "unimodal_heads")}
        made = keras.saving.deserialize_keras_object(parts, custom_objects=custom_objects)
        return cls(**{**config, **made})

    def _fused(self, training: bool) -> FusedHead:
        return FusedHead(self.head, self.head_input, self.modalities, self.num_classes, training=training)
