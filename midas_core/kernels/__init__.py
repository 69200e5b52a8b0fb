"""Kernels: the objective written by hand for one framework. `midas_core.objective` is their specification."""
