from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of `--device`; the CPU unless the option says otherwise."""
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(autouse=True)
def _seed_and_exact_products() -> None:
    """Random numbers start at 0, and the device multiplies 32-bit numbers as such, never as TF32."""
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
