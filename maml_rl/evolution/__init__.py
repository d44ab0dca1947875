"""Evolution strategies on vectors: ask for candidates, tell their fitness."""

from maml_rl.evolution.candidates import Candidates, VectorCandidates
from maml_rl.evolution.cma_es import CMAES
from maml_rl.evolution.genetic_algorithm import GeneticAlgorithm
from maml_rl.evolution.openai_es import OpenAIES
from maml_rl.evolution.strategy import Strategy

__all__ = ["CMAES", "Candidates", "GeneticAlgorithm", "OpenAIES", "Strategy", "VectorCandidates"]
