"""Exports files that run without taskfold: a folded task, a bank, or a graph with an adapter for each task."""

from ._adapters import export_adapter, run_adapter
from ._export import export
from ._triton import export_triton

__all__ = ["export", "export_adapter", "export_triton", "run_adapter"]
