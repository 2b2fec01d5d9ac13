"""Installed and required versions of distributions, from their metadata. No package is imported."""

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
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-directml"),
}
"""Distribution -> others with the same modules. Exactly one of them must be installed."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A requirement from edgeharfer's metadata.

    Attributes:
        name: The installed distribution, which may be one of the ALTERNATIVES of the required one.
        bounds: Version specifier, such as ">=1.0".
        version: Installed version, None if it is not installed.
        fits: Whether a version within the bounds is installed.
    """

    name: str
    bounds: str
    version: str | None
    fits: bool

    @property
    def problem(self) -> str:
        """Description of an installed version that does not fit."""
        return f"{self.name} {self.version} is installed, {self.bounds} is required"


def installed(name: str) -> str | None:
    """Return the version of a distribution, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def all_installed(names: Iterable[str]) -> dict[str, str]:
    """Return name -> version of those distributions that are installed, in the given order."""
    return {name: found for name in names if (found := installed(name)) is not None}


def product_version() -> str:
    """Return the version of edgeharfer; "" in a source tree that is not installed."""
    return installed(PRODUCT) or ""


def extras() -> list[str]:
    """Return the names of edgeharfer's extras; none in a source tree that is not installed."""
    if installed(PRODUCT) is None:
        return []
    return sorted(metadata(PRODUCT).get_all("Provides-Extra") or [])


def dependencies(extra: str = "") -> list[Dependency]:
    """Return the requirements of edgeharfer on this platform, or those that one extra adds."""
    return [_dependency(name, bounds) for name, bounds, _ in _requirements(extra)]


def requirement_lines(extra: str) -> list[str]:
    """Return the requirements of an extra as arguments of `pip install`, such as "reportlab>=4.4"."""
    return [line for _, _, line in _requirements(extra)]


def _requirements(extra: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, bounds and the whole requirement without its marker."""
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
