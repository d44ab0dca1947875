"""The command `maml-rl` and its subcommands, a file for each that has no other place."""
