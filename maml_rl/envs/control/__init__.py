"""Control: a state that actions move and the agent observes; the task is the dynamics or the goal."""
