"""Pictures of results: one for each histogram, datasets overlaid, partial results marked.

Uses `core`.
"""

from eventflock.plot.drawing import draw
from eventflock.plot.pictures import Picture, arrange
from eventflock.plot.writing import FORMATS, plot_results

__all__ = ["FORMATS", "Picture", "arrange", "draw", "plot_results"]
