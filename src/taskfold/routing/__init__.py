"""Task → which leaves it uses: its own, everybody's, or (a rule with logits) a mixture of an inventory."""

from ._base import Sharing, sharing
from ._private import Private
from ._shared import Shared

__all__ = ["Private", "Shared", "Sharing", "sharing"]
