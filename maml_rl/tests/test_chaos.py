"""Faults cost no more than the work in flight: a few of each kind here, two hundred with `make chaos`."""

from __future__ import annotations

import os

import numpy as np
import pytest

from maml_rl.tests.chaos.faults import ALGORITHMS, FAULTS, OF_PROCESSES, make_scene, survives

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked up in /proc")
NUM_FAULTS = 200
BACKENDS = ("serial", "multiprocess")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Folder of the undisturbed run of each algorithm, made when it is first asked for."""
    made = {}

    def folder(algorithm):
        if algorithm not in made:
            parent = tmp_path_factory.mktemp(algorithm)
            scene = make_scene(0, algorithm, backend="serial", parent=parent, expected=parent / "run")
            ending = scene.start().end()
            assert ending.code == 0, ending
            made[algorithm] = scene.folder
        return made[algorithm]

    return folder


def inflict(seed, fault, algorithm, backend, tmp_path, undisturbed):
    """Inflict one fault and check that it is survived."""
    scene = make_scene(seed, algorithm, backend=backend, parent=tmp_path, expected=undisturbed(algorithm))
    survives(scene, fault)


@pytest.mark.parametrize(
    "fault", ["main process killed", "disk full", "metrics.csv flipped", "checkpoint.pt truncated"]
)
def test_a_fault_costs_no_more_than_the_work_in_flight(fault, tmp_path, undisturbed):
    inflict(1, fault, "evolution", "serial", tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "algorithm"), [*zip(sorted(OF_PROCESSES), ALGORITHMS, strict=False)])
def test_a_fault_of_a_worker_costs_no_more_than_its_work(fault, algorithm, tmp_path, undisturbed):
    inflict(1, fault, algorithm, "multiprocess", tmp_path, undisturbed)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(NUM_FAULTS))
def test_two_hundred_faults_are_survived(seed, tmp_path, undisturbed):
    faults, algorithms = list(FAULTS), list(ALGORITHMS)
    fault = faults[seed % len(faults)]
    algorithm = algorithms[(seed // len(faults) + seed) % len(algorithms)]
    backend = BACKENDS[int(np.random.default_rng(seed).integers(2))]
    inflict(seed, fault, algorithm, backend, tmp_path, undisturbed)
