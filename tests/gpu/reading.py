"""Reads a compiled program: its kernels, its products, and what should not be in it."""

import re
from collections import Counter
from typing import NamedTuple

from gpu.h100 import Program

INSTRUCTION = re.compile(
    r"  (?:ROOT )?%(?P<name>\S+) = (?P<type>\(.*?\)|\S+) (?P<op>[\w-]+)\((?P<args>.*?)\)(?P<rest>.*)"
)
# Nothing runs for these by themselves
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all"}


class Instruction(NamedTuple):
    name: str
    type: str
    op: str
    args: str
    rest: str


class Product(NamedTuple):
    """The dtypes of a matrix product's factors, the precision that was asked for, and what cuBLAS does after it."""

    factors: tuple[str, ...]
    precision: str
    epilogue: str


def computations(text: str) -> dict[str, list[Instruction]]:
    """The instructions of a program, by the function that they are in."""
    found, current = {}, []
    for line in text.splitlines():
        if head := re.match(r"(?:ENTRY )?%(\S+) \(.*\{$", line):
            current = found[head[1]] = []
        elif match := INSTRUCTION.match(line):
            current.append(Instruction(**match.groupdict()))
    return found


def kernels(text: str) -> list[Instruction]:
    """The kernels that run on the GPU, each once. A fusion is one, whatever is in it, and so is a body of a loop."""
    functions = computations(text)
    inner = set()
    for x in (x for body in functions.values() for x in body if x.op != "call"):
        inner |= set(re.findall(r"(?:calls|to_apply)=%([\w.-]+)", x.rest))
    return [x for name, body in functions.items() if name not in inner for x in body if x.op not in FREE]


def products(text: str) -> Counter[Product]:
    """The matrix products, of Triton or cuBLAS."""
    found = Counter()
    for body in computations(text).values():
        types = {x.name: x.type.split("[")[0] for x in body}
        for x in body:
            if x.op == "dot" or "__cublas" in x.rest:
                factors = tuple(types[name] for name in re.findall(r"%([\w.-]+)", x.args)[:2])
                found[Product(factors, _precision(x.rest), _field("epilogue", x.rest).lower())] += 1
    return found


def graphs(steps: list[str]) -> tuple[int, int]:
    """The number of CUDA graphs, and of the steps that are in none."""
    found = Counter("kCommandBuffer" in line for line in steps if re.match(r"\d+: k", line))
    return found[True], found[False]


def added_in_any_order(text: str) -> list[str]:
    """The sums whose terms come in the order in which threads get there."""
    return [x.name for body in computations(text).values() for x in body if x.op in ("scatter", "select-and-scatter")]


def rearrangements(text: str) -> list[str]:
    """The kernels that only move numbers."""
    return [x.name for x in kernels(text) if x.op in ("copy", "transpose") or re.search("copy|transpose", x.name)]


def forms_of_a_cpu(program: Program) -> int:
    """The barriers, which only the forms for a CPU have."""
    return program.lowered.count("stablehlo.optimization_barrier")


def dtype_name(dtype: str) -> str:
    """A dtype as HLO calls it."""
    return {"float32": "f32", "bfloat16": "bf16", "float64": "f64"}[dtype]


def _precision(rest: str) -> str:
    asked = re.search(r"operand_precision=\{(\w+),(\w+)\}|\"operand_precision\":\[\"(\w+)\",\"(\w+)\"\]", rest)
    algorithm = re.search(r"\balgorithm=(\w+)", rest)
    words = {word.lower() for word in asked.groups() if word} if asked else {"default"}
    return " ".join(sorted(words | ({algorithm[1]} if algorithm else set())))


def _field(name: str, rest: str) -> str:
    match = re.search(rf'"{name}":"(\w+)"', rest)
    return match[1] if match else "default"
