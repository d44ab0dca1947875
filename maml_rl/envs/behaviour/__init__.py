"""Tasks of cognitive science: an episode is one session of many trials, or a trial that asks for memory."""
