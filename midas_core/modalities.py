"""Modalities as people hold them: a list, a tuple, or a dict by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Modalities:
    """How many modalities there are, in what order, and what they are called.

    Parameters
    ----------
    given : sequence or mapping
        One item for each modality; a mapping names them, and its order holds from then on.
    argument : str
        Name of the argument, for the errors.

    Raises
    ------
    TypeError, ValueError
        If ``given`` is neither, or holds fewer than two.
    """

    def __init__(self, given: Any, argument: str) -> None:
        self.names = tuple(given) if isinstance(given, Mapping) else None
        if self.names is None and not _is_sequence(given):
            raise TypeError(
                f"{argument}: expected a list, a tuple or a dict by modality name, got {type(given).__name__}"
            )
        self.count = len(given)
        if self.count < 2:
            raise ValueError(f"{argument}: expected two or more modalities, got {self.count}")

    @property
    def shown_names(self) -> tuple[str, ...]:
        """What logs and pages call the modalities: their names, or 0, 1, ..."""
        return tuple(map(str, self.names or range(self.count)))

    def title(self, m: int) -> str:
        """Return what to call modality ``m`` in an error."""
        return f"modality {m if self.names is None else self.names[m]!r}"

    def unpack(self, given: Any, argument: str) -> list[Any]:
        """Return the items of ``given`` in order.

        Raises
        ------
        TypeError, ValueError
            If the structure, the names or the number do not fit.
        """
        if isinstance(given, Mapping):
            if self.names is None:
                if all(isinstance(name, int) for name in given):
                    raise TypeError(f"{argument}: expected names as keys, got {list(given)}")
                raise TypeError(
                    f"{argument}: expected a list or tuple of {self.count} modalities, because the "
                    f"modalities were given without names, got a dict with {sorted(given)}"
                )
            if set(given) != set(self.names):
                raise ValueError(f"{argument}: expected the modalities {list(self.names)}, got {list(given)}")
            return [given[name] for name in self.names]
        if not _is_sequence(given):
            raise TypeError(
                f"{argument}: expected a list, a tuple or a dict by modality name, got {type(given).__name__}"
            )
        if len(given) != self.count:
            raise ValueError(f"{argument}: expected {self.count} modalities, got {len(given)}")
        return list(given)

    def pack(self, items: Sequence[Any], like: Any) -> Any:
        """Return ``items`` in the structure of ``like``: its type, and for a mapping its names and order."""
        if isinstance(like, Mapping):
            names = self.names or tuple(like)
            by_name = dict(zip(names, items, strict=True))
            return {name: by_name[name] for name in like}
        if isinstance(like, tuple):
            # A NamedTuple takes its fields one by one.
            return type(like)(*items) if hasattr(like, "_fields") else tuple(items)
        return list(items)


def _is_sequence(given: Any) -> bool:
    # An array has a length too, but its rows are samples.
    return isinstance(given, Sequence) and not isinstance(given, (str, bytes))
