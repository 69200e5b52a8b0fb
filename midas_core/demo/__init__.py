"""The demo: the usual ways to train on several modalities beside MIDAS, on real data."""
