"""The laws that every method and every intervention keeps, to be called from anybody's tests. They need torch alone."""

from ._intervention import check_intervention
from ._method import LAWS, check_method

__all__ = ["LAWS", "check_intervention", "check_method"]
