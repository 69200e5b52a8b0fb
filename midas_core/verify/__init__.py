"""The command ``midas verify``: the properties of `midas_core.testing` on every backend and device that is here."""
