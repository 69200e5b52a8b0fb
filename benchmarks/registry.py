"""What can be measured. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from typing import NamedTuple


class Section(NamedTuple):
    """A part of the benchmark.

    Attributes
    ----------
    title : str
    module, function : str
        What measures it: ``function(settings)`` of a module in ``benchmarks.sections``.
    needs : tuple of (module, package, extra)
        What must be installed beside PyTorch, as `midas_core.backends.require` takes it.
    devices : tuple of str
    """

    title: str
    module: str
    function: str = "measure"
    needs: tuple[tuple[str, str, str], ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")


SECTIONS = {
    "step": Section("Step, forward and backward, (B, C, D), two modalities", "step"),
    "compile": Section("The same under torch.compile", "step", "measure_compiled"),
    "training": Section("A whole training step with small encoders and Adam", "training"),
    "options": Section("The step with other options, each beside the same losses with the same options", "options"),
    "core": Section("The core on given logits, forward and backward, against native PyTorch", "core"),
    "core-jax": Section(
        "The core on given logits, forward and backward, against native JAX",
        "core",
        "measure_jax",
        needs=(("jax", "JAX", "jax"),),
        devices=("cpu",),
    ),
    "memory": Section("Peak memory of a step above the joint and unimodal losses", "memory"),
    "scaling": Section(
        "Growth of the cost of a step", "scaling", needs=(("matplotlib", "Matplotlib", "bench"),), devices=("cpu",)
    ),
    "epoch": Section(
        "Training epoch with ResNet-18 encoders", "epoch", needs=(("transformers", "Transformers", "bench"),)
    ),
    "tokens": Section(
        "Cross-attention over the tokens of a ViT and a BERT: tokens mixed, or inputs",
        "tokens",
        needs=(("transformers", "Transformers", "bench"),),
    ),
    "keras": Section(
        "Keras: an epoch of fit, with encoders of one layer and Adam",
        "keras_fit",
        needs=(("keras", "Keras", "keras"),),
        devices=("cpu",),
    ),
    "import": Section("Import in a fresh interpreter", "imports", devices=("cpu",)),
    "gpu": Section("On the GPU: waiting, kernels, bandwidth", "gpu", devices=("cuda",)),
    "graph": Section("The step in a CUDA graph", "gpu", "measure_graph", devices=("cuda",)),
    "mixing": Section("On the GPU: the misalignment itself", "gpu", "measure_mixing", devices=("cuda",)),
    "cupy": Section(
        "On the GPU: CuPy beside PyTorch",
        "gpu",
        "measure_cupy",
        needs=(("cupy", "CuPy", "cupy"),),
        devices=("cuda",),
    ),
    "jax": Section(
        "On the GPU: JAX beside PyTorch", "gpu", "measure_jax", needs=(("jax", "JAX", "jax"),), devices=("cuda",)
    ),
}
