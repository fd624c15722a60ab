from __future__ import annotations

import warnings

import pytest
import torch


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of `--device`; the CPU unless the option says otherwise."""
    made = torch.device(request.config.getoption("--device"))
    if made.type == "cuda":  # the first product of a backward pass warns that its thread had no context yet
        with warnings.catch_warnings(action="ignore"):
            x = torch.ones(2, 2, device=made, requires_grad=True)
            (x @ x).sum().backward()
    return made


@pytest.fixture(autouse=True)
def _seed_and_exact_products() -> None:
    """Random numbers start at 0, and the device multiplies 32-bit numbers as such, never as TF32."""
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
