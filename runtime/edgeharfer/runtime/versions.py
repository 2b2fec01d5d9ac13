"""Versions of what is installed and versions that edgeharfer needs, from metadata: nothing is imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.markers import Marker

PRODUCT = "edgeharfer"
ALTERNATIVES = {
    "opencv-python": ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "onnxruntime": ("onnxruntime-gpu",),
}
"""Distribution -> others with the same modules. One of them is enough; two overwrite each other's files."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """One requirement of edgeharfer's metadata.

    name: of the distribution that is installed for it, which may be a twin of the required one.
    bounds: such as ">=1.0". version: what is installed, None where nothing is. fits: whether a version is
    installed and within the bounds.
    """

    name: str
    bounds: str
    version: str | None
    fits: bool

    @property
    def problem(self) -> str:
        """What is wrong with the version that is installed."""
        return f"{self.name} {self.version} is installed, {self.bounds} is needed"


def installed(name: str) -> str | None:
    """The version of a distribution, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def all_installed(names: Iterable[str]) -> dict[str, str]:
    """Name -> version of those that are installed, in the order given."""
    return {name: found for name in names if (found := installed(name)) is not None}


def product_version() -> str:
    """Our own; empty in a source tree that is not installed."""
    return installed(PRODUCT) or ""


def extras() -> list[str]:
    """Names of edgeharfer's extras; none in a source tree that is not installed."""
    if installed(PRODUCT) is None:
        return []
    return sorted(metadata(PRODUCT).get_all("Provides-Extra") or [])


def dependencies(extra: str = "") -> list[Dependency]:
    """What edgeharfer needs on this platform, by itself or for one extra."""
    return [_dependency(name, bounds) for name, bounds, _ in _requirements(extra)]


def requirement_lines(extra: str) -> list[str]:
    """The same as arguments for `pip install`, such as "reportlab>=4.4"."""
    return [line for _, _, line in _requirements(extra)]


def _requirements(extra: str) -> Iterator[tuple[str, str, str]]:
    """Name, bounds and the whole requirement without its marker."""
    from packaging.requirements import Requirement

    if installed(PRODUCT) is None:
        return
    for line in requires(PRODUCT) or []:
        one = Requirement(line)
        if _applies(one.marker, extra) and not (extra and _applies(one.marker, "")):
            one.marker = None
            yield one.name, str(one.specifier), str(one)


def _applies(marker: Marker | None, extra: str) -> bool:
    return marker is None or marker.evaluate({"extra": extra})


def _dependency(name: str, bounds: str) -> Dependency:
    from packaging.specifiers import SpecifierSet

    found = next(iter(all_installed([name, *ALTERNATIVES.get(name, ())]).items()), None)
    if found is None:
        return Dependency(name, bounds, None, fits=False)
    return Dependency(found[0], bounds, found[1], SpecifierSet(bounds).contains(found[1], prereleases=True))
