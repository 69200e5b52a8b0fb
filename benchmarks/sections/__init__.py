"""What can be measured, one file each, every one with a function ``measure(settings)``."""
