"""A Keras model with one encoder for each modality, trained with MIDAS by ``fit``."""

from __future__ import annotations

from typing import Any

from midas_core.adapters.keras.backend import BACKEND, keras, replicas
from midas_core.adapters.keras.baselines import JointLoss
from midas_core.adapters.keras.epochs import LabelWatch, renew_step, with_epoch_counter
from midas_core.adapters.keras.forward_pass import in_step, kept_pass, read_encoders, run_encoders, run_model
from midas_core.adapters.keras.functional import split_functional
from midas_core.adapters.keras.heads import FusedHead, check_vectors, read_heads, run_unimodal, try_heads
from midas_core.adapters.keras.inputs import (
    check_class_weight,
    check_label_values,
    read_labels,
    signature_of,
    split_present,
)
from midas_core.adapters.keras.logs import TermLogs, metrics_of_one_output, note_about_rows
from midas_core.adapters.keras.loss import MidasLoss
from midas_core.adapters.keras.masks import join_masks
from midas_core.adapters.keras.state import StateLayer
from midas_core.adapters.keras.step import check_features, step_terms
from midas_core.backends import Array
from midas_core.objective import reduce_terms
from midas_core.options import HEAD_INPUTS
from midas_core.validation import check_choice, check_flag, check_fraction, check_number


@keras.saving.register_keras_serializable(package="midas_core")
class MidasModel(keras.Model):  # type: ignore[misc]
    """A multimodal classifier: encoders, a fused head, and a unimodal head for each modality.

    ``compile`` takes a `MidasLoss`, or a `JointLoss` to compare with; everything else is as on any Keras model.
    Predictions are the fused logits, unless ``probabilities`` or ``ensemble_weight`` say otherwise.

    Parameters
    ----------
    encoders : list of layers, or dict of layers by modality name
        Each from its input to a feature (B, D_m). Or one functional model, from all inputs to a list or dict of
        features.
    num_classes : int
        C.
    head : layer, optional
        The fused head, from the features to (B, C) logits. Without one: concatenation and one Dense layer.
    head_input : {"concatenated", "separate"}
        Whether ``head`` takes the features concatenated along axis 1, or as a list or dict like ``encoders``.
    unimodal_heads : list of layers, or dict of layers by modality name, optional
        From a feature to (B, C) logits. Without them: one Dense layer each.
    probabilities : bool or {"softmax", "sigmoid"}
        Whether the predictions are probabilities instead of logits; True is softmax, for multi-label take "sigmoid".
    ensemble_weight : float
        Share of the unimodal heads in predictions and metrics, in [0, 1]: above 0 a soft vote of all heads, see
        `midas_core.ensemble_logits`. The loss is the same. Multi-label models take ``probabilities="sigmoid"`` with it.
        May be set at any time; choose it on validation data.
    **kwargs
        ``name``, ``dtype`` and ``trainable``, as for any model.

    Attributes
    ----------
    alpha : Variable, shape (M,)
        For the next step.
    step, epoch : Variable, shape (), int32
        Updates of alpha so far, and epochs trained, all calls of ``fit`` together.

    Raises
    ------
    TypeError, ValueError
        If the parts do not fit together.

    Notes
    -----
    ``compile`` keeps alpha, step and epoch, as it keeps all weights; ``initial_alpha`` holds until the first step.
    ``sample_weight`` and ``class_weight`` multiply every cross-entropy at the label of a sample, also of mixed samples.
    Where the modalities have names, the inputs may hold ``"present"``, (B, M) or a dict of (B,), bool or numbers that
    are 0 or not: whether a sample has a modality. Missing features count as zeros, and missing inputs may be NaN. Other
    keys are left alone. Labels on the host are checked once, before the first step; a label out of range inside a data
    set makes the loss NaN, and `fit` and `evaluate` say so after the first batch.

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

    _signature: Any = None
    feature_symbols: Any = ()
    compiled_options: Any = None

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
        self.modalities, self.encoders, self.has_backbone = read_encoders(encoders)
        self._default_head, self._default_unimodal_heads = head is None, unimodal_heads is None
        self.head, self.unimodal_heads = read_heads(
            head, unimodal_heads, head_input, self.modalities, num_classes, self.variable_dtype
        )
        self.heads_tried = False
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
        """Turn a functional multimodal model, trained or not, into a built `MidasModel` that shares all its layers.

        Training the one trains the other, so that ``model`` is the plain classifier when training has ended.

        Parameters
        ----------
        model : keras.Model
            Functional.
        features : list, or dict by modality name, of str or KerasTensor
            The layers whose outputs are the features, or tensors of the model: where a layer is called more than once.
        head : str or KerasTensor, optional
            The layer whose output are the fused logits; without it, the model's output. A softmax or sigmoid at the end
            is split off, and the predictions stay probabilities.
        num_classes : int, optional
            C; without it, the width of the head.
        **kwargs
            As for `MidasModel`.

        Raises
        ------
        TypeError, ValueError
            If a layer is not there, a feature depends on another modality, or the head on more than the features.
        """
        parts = split_functional(model, features, head)
        width = parts.head.output_shape[-1]
        kwargs.setdefault("probabilities", parts.activation)
        num_classes = width if num_classes is None else num_classes
        midas = cls(parts.backbone, num_classes, head=parts.head, head_input="separate", **kwargs)
        midas.build(keras.tree.map_structure(lambda x: x.shape, model.input))
        try_heads(midas)
        return midas

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
        if getattr(self, "loss", None) is not None:
            self.loss.check_fits(self, weight)
        self._ensemble_weight = weight
        # Compiled with the weight that was.
        self.train_function = self.test_function = self.predict_function = None

    def set_epoch(self, epoch: int) -> None:
        """Say how many epochs have passed, where ``fit`` does not count: with ``train_on_batch``."""
        self.midas_state.set_epoch(epoch)

    def encode(self, inputs: Any, training: bool = False) -> list[Array]:
        """Return the features, M tensors of shape (B, D_m) with their masks, zeros for what is missing."""
        return join_masks(run_encoders(self, inputs, training)[0])

    def fused_head(self, training: bool = False) -> FusedHead:
        """Return the fused head as a function of the features."""
        return FusedHead(self.head, self.head_input, self.modalities, self.num_classes, training=training)

    def build(self, input_shape: Any) -> None:
        """Make all weights, from the shapes of the inputs."""
        # A backbone knows the dtypes too.
        known = self.encoders[0].input if self.has_backbone else None
        symbols = keras.tree.map_shape_structure(keras.KerasTensor, input_shape) if known is None else known
        inputs = split_present(symbols, self.modalities)[0]
        features, _ = run_encoders(self, inputs, training=False)
        # Past the tracking of layers.
        object.__setattr__(self, "feature_symbols", join_masks(features))
        if self._default_head or self._default_unimodal_heads:
            check_vectors(self.feature_symbols, self.modalities)
        run_unimodal(self.unimodal_heads, features, self.modalities, self.num_classes, training=False)
        self.fused_head().run(features)

    def call(self, inputs: Any, training: bool = False) -> Array:
        """Return the logits, or the probabilities, of shape (B, C)."""
        if self._signature is None:
            object.__setattr__(self, "_signature", signature_of(inputs))
        return run_model(self, inputs, training).predictions

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, *, log_terms: bool = False, **kwargs: Any) -> None:
        """Configure the model for training, with the arguments of ``keras.Model.compile``.

        Parameters
        ----------
        optimizer : str or keras.optimizers.Optimizer
        loss : MidasLoss or JointLoss
            Raises ``TypeError`` or ``ValueError`` where it is another one or does not fit the model.
        log_terms : bool
            Whether the logs show, beside ``loss`` and the metrics, each loss term, alpha and the confidences of each
            modality (``alpha_audio``, ``confidence_audio`` ...).
        **kwargs
            ``metrics``, ``weighted_metrics``, ``jit_compile`` and so on.
        """
        if not isinstance(loss, (MidasLoss, JointLoss)):
            got = repr(loss) if loss is None or isinstance(loss, str) else type(loss).__name__
            raise TypeError(f"loss: expected a MidasLoss or a JointLoss, got {got}")
        loss.check_fits(self, self.ensemble_weight)
        if kwargs.get("loss_weights") is not None:
            raise ValueError("loss_weights: expected None; the weight of the misaligned loss is MidasLoss(weight=...)")
        super().compile(optimizer=optimizer, loss=None, **metrics_of_one_output(kwargs))
        # Past the tracking of layers: the loss holds options, and a model that is built takes no more layers.
        object.__setattr__(self, "loss", loss)
        self.terms.shown = check_flag("log_terms", log_terms)
        self.compiled_options = loss.options
        self.midas_state.start(loss.options.initial_alpha, loss.options.seed)

    def get_compile_config(self) -> dict[str, Any]:
        """Return what `compile_from_config` needs."""
        config: dict[str, Any] = super().get_compile_config()
        if config:
            config |= {"loss": keras.saving.serialize_keras_object(self.loss), "log_terms": self.terms.shown}
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the saved model was."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Train the model as ``keras.Model.fit``, and count the epochs."""
        validation = kwargs.get("validation_data")
        if isinstance(validation, (list, tuple)) and len(validation) > 1:
            kwargs["validation_data"] = (validation[0], self._checked(validation[1]), *validation[2:])
        check_class_weight(self, kwargs.get("class_weight"))
        callbacks = with_epoch_counter(callbacks, self)
        return super().fit(x, self._checked(y), batch_size, epochs, verbose, callbacks, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the loss, the full one also during warm-up, and the metrics; as ``keras.Model.evaluate``."""
        callbacks = kwargs.get("callbacks")
        if not isinstance(callbacks, keras.callbacks.CallbackList) and len(args) < 5:
            kwargs["callbacks"] = [LabelWatch(), *keras.tree.flatten(callbacks or [])]
        return super().evaluate(x, self._checked(y), *args, **kwargs)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train on one batch, as ``keras.Model.train_on_batch``; `set_epoch` counts the epochs."""
        renew_step(self)
        logs = super().train_on_batch(x, self._checked(y), *args, **kwargs)
        try_heads(self)
        return logs

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one batch, as ``keras.Model.test_on_batch``."""
        renew_step(self)
        logs = super().test_on_batch(x, self._checked(y), *args, **kwargs)
        try_heads(self)
        return logs

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Export the model for inference, as ``keras.Model.export``, with the dtypes of its inputs."""
        if self._signature is not None and len(args) < 3:
            kwargs.setdefault("input_signature", [self._signature])
        super().export(filepath, *args, **kwargs)

    def train_step(self, *args: Any) -> Any:
        """Train on a batch, in the signature of Keras's backend."""
        with in_step():
            return super().train_step(*args)

    def test_step(self, *args: Any) -> Any:
        """Evaluate a batch, in the signature of Keras's backend."""
        with in_step():
            return super().test_step(*args)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Array:
        """Return the loss of a batch and log its terms."""
        if y is None:
            raise ValueError("y: expected labels, got None")
        loss = self.loss
        joint = isinstance(loss, JointLoss)
        if training:
            self.midas_state.warn_without_epoch(loss.options, "model")
        # Called by hand, outside a step, nothing waits.
        forward = kept_pass(self, y_pred) or run_model(self, x, training, for_loss=True)
        labels = read_labels(y, self.num_classes, loss.options.multi_label)
        check_features(forward.features, labels.values, self.modalities)
        # Regularizers and add_loss of the layers, before the head runs on the mixed samples and forgets what it added.
        rest = super().compute_loss(x, y, y_pred, sample_weight) if self.losses else None
        more: dict[str, Any] = {"sample_weight": sample_weight, "mixed": not joint}
        terms = step_terms(loss.options, self.midas_state, forward, labels, training=training, **more)
        if joint:
            terms = terms._replace(total=loss.total(terms))
        terms = reduce_terms(terms, loss.options.reduction, backend=BACKEND)
        self.terms.update_state(terms, labels.right)
        total = terms.total / replicas()
        return total if rest is None else total + rest

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return the logs of a batch, as ``keras.Model.compute_metrics``."""
        with note_about_rows(y, self.num_classes):
            return dict(super().compute_metrics(x, y, y_pred, sample_weight))

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the model again."""
        serialize, pack = keras.saving.serialize_keras_object, self.modalities.pack
        encoders = self.encoders[0] if self.has_backbone else pack(self.encoders)
        heads = None if self._default_unimodal_heads else pack(self.unimodal_heads)
        return {
            **super().get_config(),
            "encoders": serialize(encoders),
            "num_classes": self.num_classes,
            "head": None if self._default_head else serialize(self.head),
            "head_input": self.head_input,
            "unimodal_heads": serialize(heads),
            "probabilities": self.probabilities,
            "ensemble_weight": self.ensemble_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MidasModel:
        """Make the model that `get_config` described."""
        names = ("encoders", "head", "unimodal_heads")
        parts = keras.saving.deserialize_keras_object({n: config[n] for n in names}, custom_objects=custom_objects)
        return cls(**{**config, **parts})

    def _checked(self, labels: Any) -> Any:
        """Return labels; those that the host holds were looked at."""
        if labels is None or not self.compiled:
            return labels
        return check_label_values(labels, self.num_classes, self.loss.options.multi_label)
