"""Date and pictures of a report."""

from __future__ import annotations

from dataclasses import dataclass

from edgeharfer.report.gallery import Gallery


@dataclass(frozen=True)
class ReportEdition:
    """Contents of the documents besides the report.

    Attributes:
        made: Date of the report, such as "3 May 2026".
        gallery: Pictures of the input; None if they were not requested.
    """

    made: str
    gallery: Gallery | None = None

    @property
    def pictured(self) -> bool:
        """Whether the documents hold pictures of the input."""
        return self.gallery is not None
