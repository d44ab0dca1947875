"""Meta-World: task families of a robot arm."""
