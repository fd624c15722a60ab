"""The HTTP application: predictions, tasks, the Open Inference Protocol, and a page."""

try:
    from ._app import Access, application
    from ._patience import Patient
except ModuleNotFoundError as error:
    if error.name not in {"fastapi", "starlette", "prometheus_client", "python_multipart", "uvicorn"}:
        raise
    raise ImportError(f'taskfold.serve.web needs {error.name}: pip install "taskfold[serve]"') from error

__all__ = ["Access", "Patient", "application"]
