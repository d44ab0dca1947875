"""Bandits: nothing the agent does changes the arms, whose means are the task."""
