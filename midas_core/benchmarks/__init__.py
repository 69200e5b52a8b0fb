"""The command ``midas bench``: what MIDAS costs, measured side by side with what it is compared to."""
