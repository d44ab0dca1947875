"""Rules by which the weights of a plastic network change within a life."""
