"""An input of an analysis and the folder of its report, as plain values that processes exchange.

Workers of Ray import this, so it imports little.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ReportInput:
    """One input of an analysis.

    Attributes:
        spec: Source specification for `open_source`.
        name: Display name.
        size: Total size of its files in bytes.
        place: Digest of its absolute path.
        content: Digest of the names, sizes and modification times of its files; "" without files.
        problem: Why it cannot be analysed at all; "" if it can be tried.
    """

    spec: str
    name: str
    size: int
    place: str
    content: str
    problem: str = ""


@dataclass(frozen=True)
class ReportTask:
    """An input and the folder of its report.

    Attributes:
        input: The input.
        folder: Folder of the report.
        key: Digest of the input's content and the settings.
        done: Whether the folder already holds this report.
        unreadable: Number of pictures or frames that the existing report could not read.
    """

    input: ReportInput
    folder: Path
    key: str
    done: bool
    unreadable: int = 0

    @property
    def extra(self) -> dict[str, Any]:
        """The entry of summary.json by which a later run recognises this report."""
        return {"resume": {"place": self.input.place, "key": self.key}}

    def to_dict(self) -> dict[str, Any]:
        """The task as JSON values."""
        return {**asdict(self), "folder": str(self.folder)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ReportTask:
        """The task from its JSON values."""
        return cls(**{**values, "input": ReportInput(**values["input"]), "folder": Path(values["folder"])})
