"""The properties that every backend has to hold, for tests of your own: problems, oracle, frameworks, checks."""
