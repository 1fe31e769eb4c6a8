import argparse

from benchmarks import options, plans
from benchmarks.gradients import command
from benchmarks.plans import NETWORKS


def test_plans():
    assert options.network("5x64") == ("5x64", (64, 64, 64, 64, 64, 10))
    assert all(name == "-".join(map(str, sizes)) for name, sizes in NETWORKS.items() if name != "5x64")
    quick, full, scaling, depth = plans.GRADIENTS.values()
    assert full.batch_sizes == (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
    assert set(quick.points) < set(full.points) and len(full.points) == len(set(full.points)) == 36
    assert [len(sizes) - 1 for (_, sizes), m in depth.points] == [5, 15, 30, 60]
    sizes = [(len(sizes) - 1, sizes[0], m) for (_, sizes), m in scaling.points]
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
    assert given.points == [(("5x64", NETWORKS["5x64"]), 3)] and (given.least, given.most) == (7, 7)
    assert chosen("--full", "--networks", "7-5").points[0] == (("7-5", (7, 5)), 1)
