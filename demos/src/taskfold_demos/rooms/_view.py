"""What a camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class View:
    """What a camera sees.

    Attributes:
        image: H × W × 3, float32, 0 to 1.
        label: H × W, int8, numbers of `CLASSES`; −1 where nothing is.
        depth: H × W × 1, float32, metres along the camera's axis; 0 where nothing is.
        normal: H × W × 3, float32, unit vectors, x right, y up, z towards the camera; 0 where unknown.
        instance: H × W, int16, one number for every thing in view; −1 where nothing is.
    """

    image: NDArray[np.float32]
    label: NDArray[np.int8]
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]
    instance: NDArray[np.int16]
