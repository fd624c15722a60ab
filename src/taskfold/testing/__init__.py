"""The laws of every method and every intervention, for any test suite. They need only torch."""

from ._intervention import check_intervention
from ._method import LAWS, check_method

__all__ = ["LAWS", "check_intervention", "check_method"]
