import argparse

import pytest
from benchmark_runs import refused

from benchmarks import options, plans
from benchmarks.gradients import command
from benchmarks.plans import NETWORKS, Network


def test_plans():
    assert options.network("5x64") == Network("5x64", (64, 64, 64, 64, 64, 10))
    assert all(name == "-".join(map(str, sizes)) for name, sizes in NETWORKS.items() if name != "5x64")
    quick, full, scaling, depth = plans.GRADIENTS.values()
    assert full.batch_sizes == (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
    assert set(quick.points) < set(full.points) and len(full.points) == len(set(full.points)) == 36
    assert [len(sizes) - 1 for (_, sizes, *_), m in depth.points] == [5, 15, 30, 60]
    sizes = [(len(sizes) - 1, sizes[0], m) for (_, sizes, *_), m in scaling.points]
    assert [m for layers, _, m in sizes[:9] if layers == 5] == list(full.batch_sizes)
    assert {width for layers, width, m in sizes if (layers, m) == (4, 256)} == {2**k for k in range(4, 12)}
    assert {layers for layers, width, m in sizes if (width, m) == (64, 256)} == {2, 4, 5, 8, 16, 32, 64}
    assert len(sizes) == len(set(sizes)) == 22  # 4x64 once, though it is wider and deeper


def test_what_is_given_replaces_the_plan():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)

    def chosen(*argv):
        return options.chosen_plan(parser.parse_args(argv), plans.GRADIENTS)

    assert chosen() == chosen("--quick") == plans.GRADIENTS["quick"] and chosen("--full") == plans.GRADIENTS["full"]
    assert chosen("--plan", "scaling") == plans.GRADIENTS["scaling"]
    given = chosen("--plan", "scaling", "--batch-sizes", "3", "--repeats", "7")
    assert given.points == [(Network("5x64", NETWORKS["5x64"]), 3)] and (given.least, given.most) == (7, 7)
    assert chosen("--full", "--networks", "7-5").points[0] == (Network("7-5", (7, 5)), 1)


def test_random_cells():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    plan = options.chosen_plan(parser.parse_args(["--random", "200", "--seed", "3"]), plans.GRADIENTS)
    points = plan.points
    assert len(points) == 200 and points == list(plans.random_points(200, 3)) != list(plans.random_points(200, 4))
    assert all(options.network(of.name) == of for of, _ in points)  # a cell can be measured again by its name
    sizes = [n for of, _ in points for n in of.sizes]
    assert min(sizes) < 8 and max(sizes) > 900 and {len(of.sizes) for of, _ in points} == {3, 4, 5, 6, 7}
    batch_sizes = [m for _, m in points]
    assert min(batch_sizes) < 4 and max(batch_sizes) > 4000 and sum(m & (m - 1) == 0 for m in batch_sizes) < 40
    assert {of.output for of, _ in points} == set(plans.COSTS)


@pytest.mark.parametrize("name", ["7", "7-5:tanh", "7-5:tanh:tanh", "7-5:softmax9:softmax", "7-5:tanh:identity:x"])
def test_networks_that_are_refused(capsys, name):
    assert f"unknown network '{name}'" in refused(capsys, "gradients", "--networks", name)


def test_commands_of_one_kind_of_network(capsys):
    of_relu = "this command has ReLU in the hidden layers and softmax at the output"
    for name in ("roofline", "quantities"):
        assert f"7-5:tanh:identity: {of_relu}" in refused(capsys, name, "--networks", "7-5:tanh:identity")
    assert "--peers have ReLU" in refused(capsys, "--networks", "7-5:tanh:identity", "--peers")
