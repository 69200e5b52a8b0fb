"""How accurate MIDAS is beside its neighbours, on the same models, splits and tuning."""
