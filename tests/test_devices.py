"""Many devices give what one gives, to the last bit.

They are virtual devices of one process, or those of several processes.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from casim import devices
from tests.quick import FLAGS

STUDY = """
import casim
from casim.tasks import Bifurcation

def study(estimators, controls=("shuffled",)):
    task = Bifurcation(horizon=5, pivots=(1, 3), recovery=0.4, noise=0.1, num_segments=2)
    return casim.Study(
        "trial", (task,), estimators, num_trajectories=3, replicates=18, controls=controls
    )
"""
SCORES = """
def scores(rows):
    return [[row.label, row.scores] for row in rows]
"""
ONE_PROCESS = """
import json, sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
counts = [int(x) for x in sys.argv[2].split(",")]
trial = study((casim.methods.RLOO, casim.Gae(), casim.Vine(), casim.ProcessReward()))
if sys.argv[3] == "ranks":  # programs in which sums came in another order on each number of devices
    task, estimators = Bifurcation(horizon=12), (casim.Vine(), casim.Gae())
    trial = casim.Study("ranks", (task,), estimators, num_trajectories=4, replicates=20)
print(json.dumps([scores(trial.run(devices=count)) for count in counts]))
"""
ROLLOUT = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from casim.devices import EVERYWHERE, SPREAD, mesh_of, on_each, replicate, spread
from casim.tasks import ToolChain
mdp = ToolChain(num_turns=3, repair=0.3, observation_noise=0.1).build()
world = casim.World.make(mdp, casim.Softmax().table(mdp))
words = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(7), 12)))

def groups(world, words):
    return jax.vmap(lambda key: world.rollout(key, 5))(jax.random.wrap_key_data(words))

mesh = mesh_of()
on_many = jax.jit(on_each(groups, mesh, (EVERYWHERE, SPREAD)))
sharded = on_many(replicate(world, mesh), spread(words, mesh))
assert len(sharded.state.sharding.device_set) == 4
plain = jax.jit(groups)(world, words)
for name, x, y in zip(plain._fields, plain, sharded):
    np.testing.assert_array_equal(np.asarray(x), np.asarray(y), err_msg=name)
print("equal")
"""
MANY_PROCESSES = """
import sys
import jax
process, address, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(address, num_processes=2, process_id=process)
assert len(jax.devices()) == 4 and len(jax.local_devices()) == 2
rows = study((casim.methods.RLOO, casim.Gae())).run(path)
assert len(rows) == 3
again = study((casim.methods.RLOO, casim.Gae())).run(
    path, progress=lambda row, new: print(row.label, new)
)
"""


def start(script: str, *args: str) -> subprocess.Popen:
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": FLAGS}
    if jax.config.jax_compilation_cache_dir:
        env["JAX_COMPILATION_CACHE_DIR"] = jax.config.jax_compilation_cache_dir
        env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    command = [sys.executable, "-c", STUDY + SCORES + script, *args]
    root = Path(__file__).parent.parent
    return subprocess.Popen(
        command, env=env, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> str:
    out, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors[-3000:]
    return out


def same(one, other):
    """Equal to the last bit, NaN with NaN; JSON keeps every bit of a float."""
    assert json.dumps(one) == json.dumps(other)


@pytest.mark.slow
def test_scores_do_not_depend_on_the_number_of_devices_to_the_last_bit():
    """Nine chunks: the last round is full on one device, padded on two, mostly padded on eight."""
    one, *others = json.loads(finish(start(ONE_PROCESS, "8", "1,2,8", "all")))
    assert [label for label, _ in one] == ["RLOO", "Gae", "Vine", "ProcessReward", "shuffled"]
    assert all(math.isfinite(scores["rmse"][1]) for _, scores in one)
    for other in others:
        same(one, other)


@pytest.mark.slow
def test_ranks_do_not_depend_on_the_number_of_devices_to_the_last_bit():
    one, *others = json.loads(finish(start(ONE_PROCESS, "8", "1,2,8", "ranks")))
    for other in others:
        same(one, other)


@pytest.mark.slow
def test_a_rollout_spread_over_devices_is_the_rollout():
    assert finish(start(ROLLOUT)) == "equal\n"


@pytest.mark.slow
def test_two_processes_write_the_rows_that_one_writes(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    path = tmp_path / "rows.jsonl"
    processes = [start(MANY_PROCESSES, str(index), address, str(path)) for index in range(2)]
    outs = [finish(process) for process in processes]
    for out in outs:  # after lines of the collectives' own
        assert out.endswith("RLOO False\nGae False\nshuffled False\n")
    alone = tmp_path / "alone.jsonl"
    script = "import sys\nstudy((casim.methods.RLOO, casim.Gae())).run(sys.argv[1], devices=1)"
    finish(start(script, str(alone)))
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in (path, alone)]
    assert len(rows[0]) == 3
    for row in (*rows[0], *rows[1]):
        row["compile_time"] = row["wall_time"] = 0.0
    assert rows[0] == rows[1]


def test_a_mesh_has_the_devices_asked_for():
    assert devices.mesh_of().size == len(jax.devices())
    assert devices.mesh_of(1).size == 1
    for wrong in (0, 1 + len(jax.devices())):
        with pytest.raises(ValueError, match="devices must be in"):
            devices.mesh_of(wrong)


def test_memory_is_the_argument_or_the_environments_or_what_is_free(monkeypatch):
    monkeypatch.delenv(devices.MEMORY, raising=False)
    free = devices.memory_at_hand()
    assert 2**24 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert np.log2(free) % 1 == 0
    monkeypatch.setenv(devices.MEMORY, "0.25")
    assert devices.memory_at_hand() == 250_000_000
    assert devices.memory_at_hand(3) == 3_000_000_000


@pytest.mark.parametrize("wrong", ["lots", "-1", "0", "nan", "inf", ""])
def test_memory_that_is_no_number_says_so(monkeypatch, wrong):
    monkeypatch.setenv(devices.MEMORY, wrong)
    with pytest.raises(
        ValueError, match=f"CASIM_MEMORY must be a positive number of gigabytes, got '{wrong}'"
    ):
        devices.memory_at_hand()
    with pytest.raises(ValueError, match="memory must be a positive number of gigabytes, got -2"):
        devices.memory_at_hand(-2)
