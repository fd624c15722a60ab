"""TensorPoly-I at other tensor ranks and orders.

    OMP_NUM_THREADS=1 python experiments/routing_sizes.py    # start it twice to use two cores

Everything else is as in routing.py; `routing_table.py` draws it.
"""

from __future__ import annotations

from dataclasses import replace

from routing_runs import bench, run

from taskfold import TensorPolyI
from taskfold.demo import contenders

SIZES = [(R, 2) for R in (2, 4, 16)] + [(8, N) for N in (1, 3, 4)]

words = bench()
base = contenders()["TensorPoly-I"]
assert isinstance(base.method, TensorPolyI)
for R, N in SIZES:
    sized = replace(
        base,
        label=f"TensorPoly-I R={R} N={N}",
        method=replace(base.method, tensor_rank=R, order=N),
        ways={way: base.ways[way] for way in ("all", "z")},
    )
    run(words, sized, seed=0, study="size")
