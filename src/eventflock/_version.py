"""The version, and where the package lies. This module imports nothing of ours."""

from pathlib import Path

__all__ = ["PACKAGE", "__version__"]

__version__ = "0.1.0"
PACKAGE = Path(__file__).parent
"""Not resolved: workers may find the package behind a link, and tracebacks show that path."""
