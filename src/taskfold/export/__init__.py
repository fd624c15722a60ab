"""Files that run without this library: a folded task, a bank, or one graph and an adapter for each task."""

from ._adapters import export_adapter, run_adapter
from ._export import export
from ._triton import export_triton

__all__ = ["export", "export_adapter", "export_triton", "run_adapter"]
