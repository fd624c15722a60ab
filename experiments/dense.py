"""Ways to train one network for segmentation, depth and normals, against one network for each.

    OMP_NUM_THREADS=1 python experiments/dense.py                       # SegNet; start it twice to use two cores
    OMP_NUM_THREADS=1 python experiments/dense.py --plan frozen         # FTN on a frozen ResNet-18, DeepLabv3+ decoders
    python experiments/dense.py --seeds 0 --only "single task" "multi-task"

Rendered rooms of 64 × 96 pixels: 640 to train on, 120 to choose epochs by, 240 to test on. Single-task networks have
the same architecture, epochs and learning rate; gains (Δm) are against those of the same seed.

Every training leaves its own file in runs/dense-PLAN and is begun by whichever process comes first; what failed says
why. `dense_table.py` joins them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dense_runs import bench, run

from taskfold_demos.jobs import dense_plan

parser = argparse.ArgumentParser()
parser.add_argument("--plan", choices=("full", "frozen"), default="full")
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
parser.add_argument("--only", nargs="+", metavar="METHOD")
parser.add_argument("--rooms", type=Path, help="folder of the rooms; default: the user's cache")
asked = parser.parse_args()

plan = dense_plan(asked.plan, seeds=tuple(asked.seeds), compare="all")
rooms = bench(plan, asked.rooms, f"dense-{asked.plan}")
for seed in asked.seeds:
    for contender in plan.contenders:
        if not asked.only or contender.label in asked.only:
            run(rooms, f"dense-{asked.plan}", contender, seed)
