"""Adapters: the method inside a training framework. Import the one that you need."""
