"""Training in two processes ends where training in one process ends."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from small_mesh import AGREE, NETWORK, OPTIONS, examples, fitted, start, validation

import manual_bp as bp
from manual_bp._devices import place
from reference.compare import largest_error

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "devices.md").read_text()


def script():
    """The block of docs/devices.md that each of several processes runs."""
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", DOCS, re.S) if "jax.distributed" in code]
    return code


def in_a_process(address, number, out):
    """Run one of two processes: the script of the page, and a training whose result is kept in `out`."""
    sys.argv = ["train.py", address, number]
    exec(compile(script(), "docs/devices.md", "exec"), {})
    jax.config.update("jax_enable_x64", True)
    # "data" runs over the processes, "model" over the two devices of each
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    state = place(start(), mesh, "model")
    found = bp.fit(NETWORK, *examples(), **OPTIONS, validation_data=validation(), mesh=mesh, state=state)
    assert jax.process_count() == 2 and not found.params[0].W.is_fully_addressable
    # and the other way round: no process has all rows
    turned = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 2).T, ("data", "model"))
    divided = place(found.params, turned, "model")
    assert {shard.data.shape for shard in divided[0].W.addressable_shards} == {(3, 5)}
    leaves = jax.tree.leaves((place(found.params, mesh), place(divided, turned)))
    np.savez(out, *leaves, history=np.array([found.history.cost, found.history.validation_cost]))
    with pytest.raises(ValueError, match=r"differ between process 0 and \[1\]; expected every process to give all"):
        place(np.full(3, int(number)), mesh)


def run_two(outs):
    """Run two processes for at most two minutes, and return the output and exit status of both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", Path(__file__).parent))),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
    }
    code = "import sys, test_processes as t; t.in_a_process(*sys.argv[1:])"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, address, str(i), outs[i]],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    until = time.monotonic() + 120
    try:
        # where one fails the other would wait for it
        while None in (ended := [p.poll() for p in processes]) and not any(ended) and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        for p in processes:
            p.kill()
    return [(p.communicate()[0], p.returncode) for p in processes]


def test_two_processes(tmp_path):
    expected, outs = fitted(), [str(tmp_path / f"{i}.npz") for i in range(2)]
    ended = run_two(outs)
    # another program may have taken the port meanwhile
    if any("Failed to add port" in printed for printed, _ in ended):
        ended = run_two(outs)
    assert [code for _, code in ended] == [0, 0], "\n".join(printed for printed, _ in ended)
    one, two = (dict(np.load(out)) for out in outs)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    for leaves in (range(4), range(4, 8)):
        params = jax.tree.unflatten(jax.tree.structure(expected.params), [one[f"arr_{i}"] for i in leaves])
        assert largest_error(params, expected.params) <= AGREE
    np.testing.assert_allclose(one["history"], [expected.history.cost, expected.history.validation_cost], rtol=AGREE)
    # process 0 alone prints, and what the page says
    said = re.search(r"jax\.distributed.*?```\n\n```text\n(.*?)```", DOCS, re.S)
    assert said and said[1] in ended[0][0] and said[1] not in ended[1][0]
