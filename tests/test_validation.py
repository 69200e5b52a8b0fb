"""Bad and hostile input to the core: the error names the argument, what was expected and what came."""

import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import midas_core as mc
from midas_core import weighting
from midas_core.missing import zero_missing
from midas_core.pairing import label_ids, mix
from midas_core.partners import draw_partners
from midas_core.testing.problems import FEW_STRUCTURES, make_problem
from midas_core.weighting import soft_labels
from tests.errors import must_be_clear
from tests.steps import run

P = make_problem(0, 4, 2, 3)
SOURCES = mc.source_matrix(P.partners, 2)
SOME_ABSENT = mc.make_pairs(P.labels, SOURCES, absent=np.zeros((2, 2, 4), bool))


def targets(*more, **options):
    return mc.Targets(P.labels, *more, **options)


GOOD = {
    "fused_logits": P.fused,
    "unimodal_logits": P.unimodal,
    "mixed_logits": P.mixed,
    "labels": P.labels,
    "sources": SOURCES,
}
ROWS = np.eye(3)[P.labels]
ERRORS = [
    ({"labels": ROWS}, TypeError, "labels: expected class indices of an integer dtype, got float64"),
    ({"labels": P.labels[:, None]}, ValueError, r"labels: expected shape \(B,\), got \(4, 1\)"),
    ({"labels": ROWS.astype(int)}, ValueError, r"labels: expected shape \(B,\), got \(4, 3\)"),
    ({"labels": mc.Targets(ROWS[:, :2])}, ValueError, r"labels: expected shape \(B, C\) = \(4, 3\), got \(4, 2\)"),
    ({"labels": targets(np.ones((4, 1)))}, ValueError, r"sample_weight: .*\(B,\) = \(4,\), got \(4, 1\)"),
    ({"labels": targets(None, np.ones(2))}, ValueError, r"class_weights: expected shape \(C,\) = \(3,\), got \(2,\)"),
    ({"labels": targets(label_smoothing=1.5)}, ValueError, r"label_smoothing: .* in \[0, 1\], got 1\.5"),
    ({"labels": targets(label_smoothing="a")}, TypeError, r"label_smoothing: .* in \[0, 1\], got 'a'"),
    ({"fused_logits": P.fused[:3]}, ValueError, r"fused_logits: expected shape \(B, C\) = \(4, \?\), got \(3, 3\)"),
    ({"fused_logits": P.fused.astype(int)}, TypeError, "fused_logits: expected a real floating dtype, got int64"),
    ({"unimodal_logits": P.unimodal[:1]}, ValueError, "unimodal_logits: expected two or more modalities, got 1"),
    ({"unimodal_logits": [P.unimodal[0], P.unimodal[1][:, :2]]}, ValueError, r"\[1\]: .*= \(4, 3\), got \(4, 2\)"),
    ({"unimodal_logits": P.unimodal * 2}, ValueError, r"sources: expected shape \(M, V, B\) = \(4, 2, 4\), got \(2, 2"),
    ({"mixed_logits": P.fused}, ValueError, r"mixed_logits: expected shape \(V, B, C\) = \(2, 4, 3\), got \(4, 3\)"),
    ({"mixed_logits": P.mixed.astype(int)}, TypeError, "mixed_logits: expected a real floating dtype, got int64"),
    ({"sources": SOURCES[:, :, :3]}, ValueError, r"sources: expected shape \(M, V, B\) = \(2, 2, 4\), got \(2, 2, 3\)"),
    ({"present": np.ones((4, 2))}, TypeError, "present: expected dtype bool, got float64"),
    ({"present": np.ones((4, 2), bool), "variant": "official"}, ValueError, "present: expected None with variant 'of"),
    ({"sources": SOME_ABSENT, "variant": "official"}, ValueError, "sources: expected no absent partner with variant"),
    ({"variant": "papre"}, ValueError, "variant: expected one of"),
    ({"present": np.ones((2, 4), bool)}, ValueError, r"present: .*\(B, M\) = \(4, 2\), got \(2, 4\)"),
]


@pytest.mark.parametrize(("change", "kind", "message"), ERRORS, ids=map(str, range(len(ERRORS))))
def test_objective_and_gradients(change, kind, message):
    given = GOOD | change
    state = mc.MidasState(P.alpha, np.array(0))
    with pytest.raises(kind, match=message):
        mc.midas_objective(**given, similarities=None, state=state)
    with pytest.raises(kind, match=message):
        mc.midas_gradients(**given, soft_weights=np.zeros((2, 2, 4)))


B = 4


def arrays(*shapes):
    """Draw an array of one of the shapes, in some dtype and memory order."""
    dtypes = st.sampled_from(["float32", "float64", "float64", "float16", "int64", "bool", "complex128", "<U1"])
    return st.builds(
        lambda shape, dtype, order: np.ones(shape, dtype=dtype, order=order),
        st.sampled_from(shapes),
        dtypes,
        st.sampled_from("CF"),
    )


@settings(max_examples=250)
@given(
    fused=arrays((B, 3), (B, 3), (B,), (0, 3), (B, 0)),
    unimodal=st.lists(arrays((B, 3), (B, 3), (B, 3), (B + 1, 3), (B, 2)), min_size=1, max_size=3),
    mixed=st.one_of(st.none(), arrays((2, B, 3), (2, B, 3), (B, 3), (3, B, 3))),
    given_labels=arrays((B,), (B,), (B, 1), (B, 3), ()),
    sources=arrays((2, 2, B), (2, 2, B), (2, B), (3, 2, B)),
)
def test_the_core(fused, unimodal, mixed, given_labels, sources):
    state = mc.MidasState(np.ones(len(unimodal)), np.array(0))
    given_labels = given_labels if given_labels.dtype.kind in "bcU" else given_labels.astype(int) % 3
    sources = sources if sources.dtype.kind in "bcU" else sources.astype(int)
    with np.errstate(all="ignore"):
        found = must_be_clear(lambda: mc.midas_objective(fused, unimodal, mixed, given_labels, sources, None, state))
    if found is not None:
        assert np.isfinite(found.terms.total).all()


THREE = make_problem(0, 4, 3, 3)
PAIRS = mc.source_matrix(THREE.partners, 3)
STATE = mc.MidasState(np.ones(2), np.array(0))
TOO_FEW = np.zeros((3, 2), dtype=bool)


def objective(**change):
    given = GOOD | {"similarities": None, "state": STATE} | change
    return mc.midas_objective(**given)


# Word for word: the name of an argument is all that a user has to go by.
WORDS = {
    "features: expected 2 modalities, got 3": lambda: mix(THREE.features, SOURCES),
    "features: expected 2 modalities, got 1": lambda: mc.similarity(P.features[:1], SOURCES),
    "features: expected two or more modalities, got 1": lambda: zero_missing(P.features[:1], TOO_FEW),
    "present: expected shape (B, M) = (4, 2), got (3, 2)": lambda: zero_missing(P.features, TOO_FEW),
    "present: expected shape (B, M) = (3, 2), got (4, 2)": lambda: zero_missing(
        [P.features[0][:3], P.features[1]], np.ones((4, 2), bool)
    ),
    "present: expected dtype bool, got float64": lambda: zero_missing(P.features, np.ones((4, 2))),
    "numbers: expected shape (M - 1, B) = (?, 4), got (1, 3)": lambda: draw_partners(P.labels, np.zeros((1, 3))),
    "labels: expected class indices of an integer dtype, got bool": lambda: draw_partners(TOO_FEW[0], np.zeros((1, 2))),
    "labels: expected shape (B,), got (4, 1)": lambda: draw_partners(P.labels[:, None], np.zeros((1, 4))),
    "partners: expected shape (M - 1, B) = (2, ?), got (1, 4)": lambda: mc.source_matrix(P.partners, 3),
    "assignment: expected shape (M, B) = (3, 4), got (2, 4)": lambda: mc.source_matrix(
        THREE.partners, 3, np.zeros((2, 4), int)
    ),
    "num_modalities: expected a whole number >= 2, got 1": lambda: mc.source_matrix(P.partners[0], 1),
    "permutation: expected shape (B,) = (4,), got (3,)": lambda: mc.pairing.draw_sources(
        mc.draw(P.labels, 2, 0), P.labels, 2, permutation=np.arange(3)
    ),
    "permutation: expected an integer dtype, got float64": lambda: mc.pairing.draw_sources(
        mc.draw(P.labels, 2, 0), P.labels, 2, permutation=np.ones(4)
    ),
    "classes: expected shape logits.shape[:-1] = (4,), got (3,)": lambda: mc.log_confidence(P.fused, P.labels[:3]),
    "classes: expected shape shares.shape = (2, 3), got (2, 4)": lambda: soft_labels(
        np.ones((2, 3)), np.zeros((2, 4), int), 3
    ),
    "classes: expected shape (*shares.shape, C) = (2, 4, 3), got (2, 4, 2)": lambda: soft_labels(
        np.ones((2, 4)), np.zeros((2, 4, 2), int), 3
    ),
    "similarity: expected one of ['cosine', 'l2'], got 'dot'": lambda: mc.similarity(P.features, SOURCES, "dot"),
    "variant: expected one of ['paper', 'official'], got 'papre'": lambda: objective(variant="papre"),
    "variant: expected one of ['paper', 'official'], got 'a'": lambda: mc.make_pairs(P.labels, SOURCES, variant="a"),
    "variant: expected one of ['paper', 'official'], got 1": lambda: weighting.current_alpha(STATE, None, variant=1),
    "variant: 'official' is defined for 2 modalities only, got 3": lambda: mc.midas_objective(
        *(THREE.fused, THREE.unimodal, THREE.mixed, THREE.labels, PAIRS, None, STATE), variant="official"
    ),
    "alpha_update: expected one of ['sign', 'difference'], got 'signs'": lambda: objective(alpha_update="signs"),
    "reduction: expected one of ['mean', 'sum', 'none'], got 'max'": lambda: mc.reduce_terms(objective().terms, "max"),
    "unimodal_logits[1]: expected a real floating dtype, got int64": lambda: objective(
        unimodal_logits=[P.unimodal[0], P.unimodal[1].astype(int)]
    ),
    "labels: expected class indices of an integer dtype, got float64": lambda: objective(labels=P.fused[:, 0]),
}


@pytest.mark.parametrize("message", WORDS)
def test_the_message_word_for_word(message):
    with pytest.raises((TypeError, ValueError)) as error:
        WORDS[message]()
    assert str(error.value) == message


def test_a_given_backend_is_the_only_one_that_is_asked(monkeypatch):
    def refuse(*arrays):
        raise AssertionError("a backend was given")

    bk = mc.backends.load_backend("numpy")
    for module in [m for name, m in sys.modules.items() if name.startswith("midas_core") and hasattr(m, "get_backend")]:
        monkeypatch.setattr(module, "get_backend", refuse)
    for structure in FEW_STRUCTURES:
        p = make_problem(0, **structure)
        terms = run(p).terms
        reduced = mc.reduce_terms(terms, "mean", backend=bk)
        np.testing.assert_allclose(reduced.total, terms.total.mean())
        count, several = len(p.unimodal), p.labels.ndim == 2
        ids = label_ids(p.labels, backend=bk) if several else p.labels
        numbers = mc.draw(ids, count, 0, backend=bk)
        assert numbers.partners.shape == (count - 1, len(ids))
        for variant, permutation in (("paper", None), ("official", None), ("paper", np.argsort(ids))):
            given = {"variant": variant, "permutation": permutation, "backend": bk}
            sources = mc.pairing.draw_sources(numbers, ids, count, **given)
            mixed = mc.misalign(
                p.features,
                p.labels,
                sources,
                p.fused.shape[1],
                unimodal_logits=p.unimodal,
                present=p.present,
                backend=bk,
            )
            assert mixed.soft_labels.shape == (2 * len(ids), p.fused.shape[1])
        assert mc.ensemble_logits(p.fused, p.unimodal, present=p.present, backend=bk).shape == p.fused.shape
