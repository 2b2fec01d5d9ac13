"""What a PDF tells beside the report itself."""

from __future__ import annotations

from dataclasses import dataclass

from edgeharfer.report.gallery import Gallery


@dataclass(frozen=True)
class ReportEdition:
    """made: the day, in words. gallery: pictures, where they were asked for."""

    made: str
    gallery: Gallery | None = None

    @property
    def pictured(self) -> bool:
        """Whether pictures of the input are in the file."""
        return self.gallery is not None
