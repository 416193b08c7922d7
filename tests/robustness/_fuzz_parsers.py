"""Every parser of foreign files with a valid example, hostile variants of it, and the product's own way to read it."""

from __future__ import annotations

from tests.robustness import (
    _fuzz_data,  # noqa: F401  (registers)
    _fuzz_recipes,  # noqa: F401
    _fuzz_tensors,  # noqa: F401
)
from tests.robustness._fuzz_json import bundle_id, bundle_manifest
from tests.robustness._fuzz_registry import PARSERS, Case, Parser, Seeds

__all__ = ["PARSERS", "Case", "Parser", "Seeds", "bundle_id", "bundle_manifest"]
