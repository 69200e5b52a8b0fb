"""How a `MidasModel` is compiled, trained and evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from midas_core.adapters.keras.backend import BACKEND, keras, replicas
from midas_core.adapters.keras.baselines import JointLoss
from midas_core.adapters.keras.epochs import EpochCounter, RunsFirst, warn_about_warmup
from midas_core.adapters.keras.forward_pass import Pass, in_step, kept_pass
from midas_core.adapters.keras.inputs import check_label_values, read_labels
from midas_core.adapters.keras.logs import TermLogs
from midas_core.adapters.keras.loss import MidasLoss
from midas_core.adapters.keras.masks import with_masks_of
from midas_core.adapters.keras.state import StateLayer
from midas_core.adapters.keras.step import check_features, step_terms
from midas_core.backends import Array
from midas_core.modalities import Modalities
from midas_core.objective import reduce_terms
from midas_core.validation import check_flag

ops = keras.ops


class Trained(keras.Model):  # type: ignore[misc]
    """What a `MidasModel` adds to the training loop of Keras; the model itself has encoders, heads and state."""

    loss: Any
    modalities: Modalities
    num_classes: int
    head_input: str
    probabilities: bool | str
    ensemble_weight: float
    unimodal_heads: list[Any]
    midas_state: StateLayer
    terms: TermLogs

    def _forward(self, inputs: Any, training: bool, for_loss: bool) -> Pass:
        raise NotImplementedError

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, *, log_terms: bool = False, **kwargs: Any) -> None:
        """Configure the model for training; the arguments are those of ``keras.Model.compile``.

        Parameters
        ----------
        optimizer : str or keras.optimizers.Optimizer
        loss : MidasLoss or JointLoss
        log_terms : bool
            Whether the logs show each loss term, alpha and the confidences too, not ``loss`` and the metrics alone.
        **kwargs
            ``metrics``, ``weighted_metrics``, ``jit_compile`` and so on.

        Raises
        ------
        TypeError, ValueError
            If the loss is another one or does not fit the model.
        """
        if not isinstance(loss, (MidasLoss, JointLoss)):
            got = repr(loss) if loss is None or isinstance(loss, str) else type(loss).__name__
            raise TypeError(f"loss: expected a MidasLoss or a JointLoss, got {got}")
        loss.check_fits(self.num_classes, self.modalities.count, self.head_input, self.probabilities)
        check_vote(self.ensemble_weight, self.probabilities, loss)
        if kwargs.get("loss_weights") is not None:
            raise ValueError("loss_weights: expected None; the weight of the misaligned loss is MidasLoss(weight=...)")
        for name in ("metrics", "weighted_metrics"):
            given = kwargs.get(name)
            if isinstance(given, Mapping) and len(given) == 1:  # There is one output, whatever it is called.
                (one,) = given.values()
                kwargs[name] = one if one is None or isinstance(one, (list, tuple)) else [one]
        super().compile(optimizer=optimizer, loss=None, **kwargs)
        # Past the tracking of layers: the loss holds options, and a model that is built takes no more layers.
        object.__setattr__(self, "loss", loss)
        self.terms.shown = check_flag("log_terms", log_terms)
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
        """Train the model and count the epochs; the arguments are those of ``keras.Model.fit``."""
        validation = kwargs.get("validation_data")
        if isinstance(validation, (list, tuple)) and len(validation) > 1:
            kwargs["validation_data"] = (validation[0], self._seen(validation[1]), *validation[2:])
        state, whole = self.midas_state, isinstance(callbacks, keras.callbacks.CallbackList)
        given = callbacks.callbacks if whole else keras.tree.flatten(callbacks or [])
        if self.compiled:
            warn_about_warmup(given, self.loss.options.warmup_epochs - state.get_epoch())
        counted = any(isinstance(callback, EpochCounter) for callback in given)
        # A stable sort: what runs first, then the others in their order.
        ordered = sorted([*([] if counted else [EpochCounter()]), *given], key=lambda x: not isinstance(x, RunsFirst))
        if whole:
            ordered[0].set_model(self)
            callbacks.callbacks[:] = ordered
        state.epoch_known = True
        return super().fit(x, self._seen(y), batch_size, epochs, verbose, callbacks if whole else ordered, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the loss, the full one also during warm-up, and the metrics; as ``keras.Model.evaluate``."""
        return super().evaluate(x, self._seen(y), *args, **kwargs)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train on one batch, as ``keras.Model.train_on_batch``; `set_epoch` counts the epochs."""
        return super().train_on_batch(x, self._seen(y), *args, **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one batch, as ``keras.Model.test_on_batch``."""
        return super().test_on_batch(x, self._seen(y), *args, **kwargs)

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
        """Return the MIDAS loss of a batch and log its terms."""
        if y is None:
            raise ValueError("y: expected labels, got None")
        loss = self.loss
        joint = isinstance(loss, JointLoss)
        if training:
            self.midas_state.warn_without_epoch(loss.options.warmup_epochs, "model")
        # Called by hand, outside a step, nothing waits.
        found = kept_pass(self, y_pred) or self._forward(x, training, for_loss=True)
        labels = read_labels(y, self.num_classes, loss.options.multi_label)
        features = check_features(found.features, labels, self.modalities)
        assert found.unimodal_logits is not None  # A loss follows.
        # Regularizers and add_loss of the layers, before the head runs on the mixed samples and forgets what it added.
        rest = super().compute_loss(x, y, y_pred, sample_weight) if self.losses else None
        terms = step_terms(
            loss.options,
            self.midas_state,
            features,
            labels,
            found.unimodal_logits,
            found.head,
            found.head_run,
            training=training,
            sample_weight=sample_weight,
            present=found.present,
            mixed=not joint,
        )
        if joint:
            terms = terms._replace(total=loss.total(terms))
        terms = reduce_terms(terms, loss.options.reduction, backend=BACKEND)
        self.terms.update_state(terms, ops.shape(labels)[0])
        total = terms.total / replicas()
        return total if rest is None else total + rest

    def _unimodal_logits(self, features: Sequence[Array], training: bool) -> list[Array]:
        """Run the unimodal heads; those of joint training only watch the features."""
        loss = getattr(self, "loss", None)
        if isinstance(loss, JointLoss) and not loss.unimodal_weight:
            features = with_masks_of(features, [ops.stop_gradient(feature) for feature in features])
        return [head(x, training=training) for head, x in zip(self.unimodal_heads, features, strict=True)]

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return the logs of a batch, as ``keras.Model.compute_metrics``."""
        try:
            return dict(super().compute_metrics(x, y, y_pred, sample_weight))
        except Exception as error:
            if len(getattr(y, "shape", ())) < 2:
                error.add_note(
                    f"metrics: predictions have shape (B, {self.num_classes}); metrics such as AUC and Precision take "
                    "labels of that shape: give one-hot rows (keras.utils.to_categorical) in place of class indices"
                )
            raise

    def _seen(self, labels: Any) -> Any:
        """Look at labels that are on the host."""
        if labels is None or not self.compiled:
            return labels
        return check_label_values(labels, self.num_classes, self.loss.options.multi_label)


def check_vote(weight: float, probabilities: bool | str, loss: Any) -> None:
    """Raise ``ValueError`` where the heads of a model would vote on several labels, and the model does not know it."""
    several = isinstance(loss, (MidasLoss, JointLoss)) and loss.options.multi_label
    if several and weight > 0 and probabilities != "sigmoid":
        raise ValueError(
            "ensemble_weight: expected 0, or probabilities='sigmoid' in the model, with multi_label=True, got "
            f"{weight:g} with probabilities={probabilities!r}"
        )
