"""The MIDAS objective for Keras: options for ``compile``, or a criterion for a hand-written loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.adapters.keras.heads import (
    FusedHead,
    check_head_learns,
    check_heads,
    check_no_activation,
    check_values,
    head_precision,
    run_unimodal,
)
from midas_core.adapters.keras.inputs import check_label_values, presence, read_labels
from midas_core.adapters.keras.masks import split_masks
from midas_core.adapters.keras.state import StateLayer
from midas_core.adapters.keras.step import Pass, check_compiled, check_features, step_terms
from midas_core.backends import Array
from midas_core.missing import zero_missing
from midas_core.modalities import Modalities
from midas_core.objective import MidasTerms, reduce_terms
from midas_core.options import MidasOptions, Option, Similarity
from midas_core.validation import check_number, check_shape

Layer = keras.layers.Layer


@keras.saving.register_keras_serializable(package="midas_core")
class MidasLoss(Layer):  # type: ignore[misc, valid-type]
    """The MIDAS objective: L = L_align + L_uni + weight * L_mis (eq. 11).

    For ``MidasModel.compile(loss=MidasLoss(...))``: the model then holds the state and the unimodal heads, and
    ``num_classes``, ``feature_dims`` and ``unimodal_heads`` stay away. Or for a training loop of your own, with
    ``num_classes`` and either ``feature_dims`` or ``unimodal_heads``: a layer whose weights are the unimodal heads,
    alpha, step and epoch.

    Parameters
    ----------
    num_classes : int, optional
        C.
    feature_dims : sequence of int, or dict of int by modality name, optional
        Feature widths D_m, for linear unimodal heads that the loss makes.
    unimodal_heads : sequence of layers, or dict of layers by modality name, optional
        Your heads instead, each from a feature to (B, C) logits.
    weight : float
        lambda of eq. 11. The paper finds its best value between 1 and 10, by data set.
    eta : float
        Step size of the weak-modality weight (eq. 7).
    warmup_epochs : int
        Epochs of the unimodal loss alone. ``fit`` counts them, in a loop `set_epoch` does.
    aligned_from : int, optional
        First epoch of the aligned loss alone, at least ``warmup_epochs``. Ours, not the paper's.
    variant : {"paper", "official"}
        "official" follows the authors' code; two modalities only.
    reduction : {"mean", "sum", "none"}
        Over the batch.
    similarity : {"cosine", "l2", None}, or callable
        Similarity of the hard-sample weight (eq. 8). None disables it. A callable takes a modality (a tensor, or a dict
        of ``"feature"`` and ``"mask"``) to vectors (B, D); to be saved it is registered with Keras.
    alpha_update : {"sign", "difference"}
        Whether the sign of the gap moves alpha (eq. 6) or the gap itself.
    max_alpha : float, optional
        A cap for alpha.
    initial_alpha : float
        Weight of the weak modality in the first step.
    label_smoothing : float
        eps: every cross-entropy takes (1 - eps) * label + eps / C; no confidence does.
    class_weights : sequence of C floats, optional
        Factors of every cross-entropy, by class of the label; with ``multi_label`` of the binary one of each class.
    multi_label : bool
        Whether labels are rows of 0 and 1, (B, C); the loss is then the mean of C binary cross-entropies.
    head_input : {"concatenated", "separate"}
        Whether ``head`` takes the features concatenated along axis 1, or in their structure.
    absent_share : float
        Share of mixed samples without a partner: some modalities of one sample, zeros for the others, its own label.
    seed : int, optional
        Of the random stream. Without one, ``keras.utils.set_random_seed`` decides.
    **kwargs
        ``name`` and ``dtype``, as for any layer.

    Attributes
    ----------
    alpha : Variable, shape (M,)
        For the next step.
    step, epoch : Variable, shape (), int32
    weight, eta, ... : float
        Every option can be set, and is checked; it counts from the next step on. A model makes its step anew for it.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit.

    Notes
    -----
    Soft weights, similarities and alpha are constants of the gradient. Half-precision logits become float32. A label
    out of range inside a tensor makes the loss NaN. On JAX take gradients through ``stateless_call(
    trainable_variables, non_trainable_variables, features, labels, head=lambda z: head.stateless_call(...)[0])``: a
    layer as ``head`` would be a constant there, and is refused.

    Examples
    --------
    >>> import numpy as np
    >>> criterion = MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 5}, seed=0)
    >>> features = {"audio": np.ones((6, 4), "float32"), "video": np.ones((6, 5), "float32")}
    >>> loss = criterion(features, np.arange(6) % 3, head=keras.layers.Dense(3))
    >>> tuple(loss.shape), int(criterion.step)
    ((), 1)
    """

    weight, eta, warmup_epochs, aligned_from = Option(), Option(), Option(), Option()
    variant, reduction, similarity, alpha_update = Option(), Option(), Option(), Option()
    max_alpha, initial_alpha, label_smoothing, class_weights = Option(), Option(), Option(), Option()
    multi_label, head_input, absent_share, seed = Option(), Option(), Option(), Option()

    _options: MidasOptions

    def __init__(
        self,
        *,
        num_classes: int | None = None,
        feature_dims: Sequence[int] | Mapping[str, int] | None = None,
        unimodal_heads: Sequence[Any] | Mapping[str, Any] | None = None,
        weight: float = 1.0,
        eta: float = 0.05,
        warmup_epochs: int = 0,
        aligned_from: int | None = None,
        variant: str = "paper",
        reduction: str = "mean",
        similarity: Similarity = "cosine",
        alpha_update: str = "sign",
        max_alpha: float | None = None,
        initial_alpha: float = 1.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        multi_label: bool = False,
        head_input: str = "concatenated",
        absent_share: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        if num_classes is not None:
            num_classes = check_number("num_classes", num_classes, minimum=2, whole=True)
        self.num_classes = num_classes
        self.modalities: Modalities | None = None
        self.unimodal_heads: list[Any] = []
        self.state: StateLayer | None = None
        self.options = MidasOptions.among(locals())
        self._feature_dims: Any = None
        self._phases_seen: set[bool] = set()
        if feature_dims is not None or unimodal_heads is not None:
            self._make_state(feature_dims, unimodal_heads)
        self.built = True

    @property
    def options(self) -> MidasOptions:
        """The options, checked."""
        return self._options

    @options.setter
    def options(self, options: MidasOptions) -> None:
        if self.state is not None:
            seed = None if options.seed == self._options.seed else options.seed
            self.state.start(options.initial_alpha, seed)
        self._options = options

    @property
    def alpha(self) -> Any:
        """The weights of the modalities in the next step."""
        return self._own_state().alpha

    @property
    def step(self) -> Any:
        """Updates of alpha so far."""
        return self._own_state().step

    @property
    def epoch(self) -> Any:
        """As given to `set_epoch`."""
        return self._own_state().epoch

    def check_fits(self, model: Any, vote: float) -> None:
        """Raise ``ValueError`` unless a `MidasModel`, with a vote of that weight, can be compiled with the loss."""
        if self.state is not None:
            raise ValueError("loss: expected no feature_dims and no unimodal_heads, because the model has the heads")
        if self.num_classes not in (None, model.num_classes):
            raise ValueError(f"loss: expected num_classes={model.num_classes} as in the model, got {self.num_classes}")
        if self.options.head_input not in ("concatenated", model.head_input):
            raise ValueError(
                f"loss: expected head_input={model.head_input!r} as in the model, got {self.options.head_input!r}"
            )
        check_compiled(self.options, model, vote)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, a whole number from 0; the loss is unimodal while ``epoch < warmup_epochs``."""
        self._own_state().set_epoch(epoch)

    def __call__(self, features: Any, labels: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Check labels that are on the host, before Keras makes tensors of them."""
        return super().__call__(features, self._checked(labels, kwargs.get("training", True)), *args, **kwargs)

    def call(
        self,
        features: Any,
        labels: Any,
        sample_weight: Any = None,
        *,
        head: Callable[..., Array] | None = None,
        present: Any = None,
        permutation: Any = None,
        training: bool = True,
    ) -> Array:
        """Return the loss: a scalar, or (B,) with ``reduction="none"``. Arguments as for `terms`."""
        more = {"present": present, "permutation": permutation, "training": training}
        return self.terms(features, labels, sample_weight, head=head, **more).total

    def terms(
        self,
        features: Any,
        labels: Any,
        sample_weight: Any = None,
        *,
        head: Callable[..., Array] | None = None,
        present: Any = None,
        permutation: Any = None,
        training: bool = True,
    ) -> MidasTerms:
        """Return every term of the loss, and move the state in training; raise where an input does not fit.

        Parameters
        ----------
        features : list, tuple, or dict by modality name, of M tensors, shapes (B, D_m)
        labels : tensor, shape (B,) or (B, 1), integer; or (B, C), rows: one-hot, with ``multi_label`` of 0 and 1
        sample_weight : tensor, shape (B,), optional
            Multiplies every cross-entropy at the label of a sample, also where it is a part of a mixed one.
        head : callable
            The fused head, from the features to (B, C) logits.
        present : tensor, shape (B, M), bool; or like ``features``, of tensors, shape (B,), bool; optional
            Whether a sample has a modality. Features that are missing count as zeros, whatever they hold.
        permutation : tensor, shape (B,), integer, optional
            Who is paired with whom, instead of a draw.
        training : bool
            Without it the state does not move, and every call draws the same numbers.

        Returns
        -------
        MidasTerms
            Reduced over the batch by ``reduction``: total, aligned and misaligned are scalars, unimodal has shape (M,).
            alpha (M,) is what this step used, confidence and fused_confidence (M,) the means of c~ and q.
        """
        state = self._own_state()
        assert self.modalities is not None
        assert self.num_classes is not None
        if not callable(head):
            raise TypeError(f"head: expected a callable from features to logits, got {type(head).__name__}")
        check_no_activation("head", head)
        check_head_learns(head, self)
        if training:
            state.warn_without_epoch(self.options, "criterion")
        modalities, num_classes = self.modalities, self.num_classes
        tensors = [keras.ops.convert_to_tensor(x) for x in modalities.unpack(features, "features")]
        targets = read_labels(self._checked(labels, training), num_classes, self.options.multi_label)
        check_features(tensors, targets.values, modalities, self.options.accepts_raw_inputs)
        batch = targets.values.shape[0]
        for m, width in enumerate(modalities.unpack(self._feature_dims, "feature_dims") if self._feature_dims else ()):
            check_shape(f"features of {modalities.title(m)}", tensors[m], (batch, width), "(B, D)")
        structure, features = features, split_masks(tensors)
        if present is not None:
            present = presence(present, batch, modalities)
            features = zero_missing(features, present, backend=BACKEND)
        unimodal_logits = run_unimodal(self.unimodal_heads, features, modalities, num_classes, training)
        if permutation is not None:
            permutation = keras.ops.convert_to_tensor(permutation)
            check_shape("permutation", permutation, (batch,), "(B,)")

        fused = FusedHead(head, self.options.head_input, modalities, num_classes, training=training, like=structure)
        run = fused.run(features)
        if training not in self._phases_seen:
            self._phases_seen.add(training)
            check_values("head", run.logits)
            for m, logits in enumerate(unimodal_logits):
                check_values(f"unimodal head of {modalities.title(m)}", logits)
        forward = Pass(self, features, present, fused, run, unimodal_logits, run.logits)
        more: dict[str, Any] = {"permutation": permutation, "sample_weight": sample_weight}
        terms = step_terms(self.options, state, forward, targets, training=training, **more)
        return reduce_terms(terms, self.options.reduction, backend=BACKEND)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the loss again; the state is in the weights."""
        heads = None
        if self._feature_dims is None and self.modalities is not None:
            heads = self.modalities.pack(self.unimodal_heads)
        return {
            **super().get_config(),
            **self.options.as_dict(),
            "similarity": keras.saving.serialize_keras_object(self.options.similarity),
            "num_classes": self.num_classes,
            "feature_dims": self._feature_dims,
            "unimodal_heads": keras.saving.serialize_keras_object(heads),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MidasLoss:
        """Make the loss that `get_config` described."""
        parts = {name: config[name] for name in ("unimodal_heads", "similarity")}
        return cls(**{**config, **keras.saving.deserialize_keras_object(parts)})

    def compute_output_shape(self, *shapes: Any, **more: Any) -> tuple[int | None, ...]:
        """Return () or (None,)."""
        return (None,) if self.options.reduction == "none" else ()

    def _make_state(self, feature_dims: Any, unimodal_heads: Any) -> None:
        if feature_dims is not None and unimodal_heads is not None:
            raise ValueError("feature_dims, unimodal_heads: expected one of them, got both")
        if self.num_classes is None:
            raise ValueError("num_classes: expected a whole number >= 2 beside the heads, got None")
        argument = "unimodal_heads" if feature_dims is None else "feature_dims"
        structure = unimodal_heads if feature_dims is None else feature_dims
        self.modalities = modalities = Modalities(structure, argument)
        self.options.check_fits(modalities.count, self.num_classes)
        items = modalities.unpack(structure, argument)
        if feature_dims is None:
            check_heads("unimodal_heads", items, modalities, self.num_classes)
            self.unimodal_heads = items
        else:
            widths = [
                check_number(f"feature_dims of {modalities.title(m)}", width, minimum=1, whole=True)
                for m, width in enumerate(items)
            ]
            self._feature_dims = modalities.pack(widths)
            precision = head_precision(self.variable_dtype)
            self.unimodal_heads = [keras.layers.Dense(self.num_classes, dtype=precision) for _ in widths]
            for head, width in zip(self.unimodal_heads, widths, strict=True):
                head.build((None, width))
        self.state = StateLayer(
            modalities.count,
            initial_alpha=self.options.initial_alpha,
            seed=self.options.seed,
            dtype=self.dtype_policy,
            name="state",
        )

    def _checked(self, labels: Any, training: bool) -> Any:
        """Return labels that were looked at: those in arrays always, those in tensors in the first step of a phase."""
        tensor = keras.ops.is_tensor(labels)
        if labels is None or self.num_classes is None or (tensor and training in self._phases_seen):
            return labels
        return check_label_values(labels, self.num_classes, self.options.multi_label)

    def _own_state(self) -> StateLayer:
        if self.state is None:
            raise ValueError(
                "MidasLoss: expected num_classes, and feature_dims or unimodal_heads, to be used by itself; to train "
                "by fit, compile a MidasModel, or MidasModel.from_functional(model, ...), with it: that model holds "
                "the state, see model.alpha"
            )
        return self.state
