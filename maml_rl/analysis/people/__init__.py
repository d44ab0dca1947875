"""From a table of people's or agents' choices to fitted models, their comparison and figures."""
