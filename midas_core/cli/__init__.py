"""The command ``midas``: one file for each subcommand."""
