"""Studies: runs (configuration x seeds x overrides) and what they show, from one YAML file.

``python -m maml_rl.studies run studies/NAME.yaml`` trains and evaluates what is not done yet, resumes what was
interrupted, and then reports; ``report`` only writes table and figures from what is there; ``pack`` writes the scores
of all runs into one archive, from which reports are made where the runs' folders are not there.
"""
