"""What can be built: genes, architectures, and the timm models and operators they stand for.

Importing this package needs numpy alone; torch and timm are imported where a model is built.
"""

from .architecture import Architecture
from .presets import PRESETS, get_space
from .space import Family, Gene, SearchSpace, Segment

__all__ = ["PRESETS", "Architecture", "Family", "Gene", "SearchSpace", "Segment", "get_space"]
