"""The surface a page compares the newest one with: of an hour, a day or a week ago from the history, or one that was pinned."""

from pathlib import Path
from typing import Any

from volsurface.dashboard import formatting
from volsurface.dashboard.choices import Choices
from volsurface.dashboard.history_desk import desk
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.picture import Picture
from volsurface.dashboard.surface_change import smile_change
from volsurface.errors import HistoryError
from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface

NOTHING, PINNED = "nothing", "pinned"
AGO_S = {"1 h ago": 3600, "24 h ago": 86_400, "7 d ago": 604_800}
ASK_EVERY_S = 30.0  # what was an hour ago moves on too


class Comparison:
    """What one page's panels compare with; `follow` brings it up to date, and `version` grows when it has changed.

    surface: None while there is nothing to compare with; `words` says why when there should be something.
    """

    def __init__(self, hub: SurfaceHub, choices: Choices, folder: Path | None = None) -> None:
        self.hub = hub
        self.choices = choices
        self.surface: Surface | None = None
        self.words = ""
        self.version = 0
        self._folder = folder
        self._pins: dict[str, Surface] = {}
        self._followed: tuple[str, str] = ("", NOTHING)
        self._due_ns = 0
        self._answer: tuple[tuple[str, str], Any] | None = None  # put here by the desk's thread, taken by `follow`

    def pin(self) -> None:
        """Compare with what is shown now, from now on."""
        picture = self.hub.picture(self.choices.underlying)
        if picture is not None:
            self._pins[self.choices.underlying] = picture.surface
            self._put(picture.surface, "")
            self.choices.compare = PINNED
            self._followed = (self.choices.underlying, PINNED)

    def follow(self) -> None:
        """Take what the history has answered, and ask it again when it is time."""
        wanted = (self.choices.underlying, self.choices.compare)
        if wanted != self._followed:
            self._followed, self._due_ns, self._answer = wanted, 0, None
            self._put(None, "")
        if self.choices.compare == PINNED:
            if self.surface is None and self.choices.underlying in self._pins:
                self._put(self._pins[self.choices.underlying], "")
            elif self.surface is None:
                self.pin()
        elif self.choices.compare in AGO_S:
            self._ask(wanted)
            self._take(wanted)

    def _ask(self, wanted: tuple[str, str]) -> None:
        picture, now_ns = self.hub.picture(wanted[0]), self.hub.now_ns()
        if picture is None or 0 < self._due_ns - now_ns <= ASK_EVERY_S * 1e9:
            return
        self._due_ns = now_ns + int(ASK_EVERY_S * 1e9)
        store = self._store()
        if store is None:
            self._put(None, "nothing to compare with: no historian is running")
            return
        when = picture.publication.market_time_ns - AGO_S[wanted[1]] * formatting.NS_PER_S

        def done(answer: Any) -> None:
            self._answer = (wanted, answer)

        desk(store).ask((id(self), "compare"), lambda history: history.surface_at(when, wanted[0]), done)

    def _take(self, wanted: tuple[str, str]) -> None:
        answer, self._answer = self._answer, None
        if answer is None or answer[0] != wanted:
            return
        found = answer[1]
        if isinstance(found, HistoryError):
            self._put(None, f"{wanted[1]}: {found}")
        elif self.surface is None or found.digest != self.surface.digest:
            self._put(found, "")

    def _store(self) -> Path | None:
        if self._folder is not None:
            return self._folder
        historian = self.hub.status.get("historian") or {}
        return Path(historian["folder"]) if historian.get("folder") else None

    def _put(self, surface: Surface | None, words: str) -> None:
        if surface is not self.surface or words != self.words:
            self.surface, self.words = surface, words
            self.version += 1

    def smile(self, expiry_ns: int) -> Smile | None:
        """Return the same expiry as it was, or None."""
        found = None if self.surface is None else self.surface.smile(expiry_ns)
        return None if found is None or found.state == "failed" else found

    def change_words(self, picture: Picture, row: int) -> str:
        """Return what has changed at the strike that was at the forward, and which part is what; empty without a change."""
        now = picture.smiles[row]
        then = self.smile(now.expiry_ns)
        if self.surface is None or then is None or now.state == "failed":
            return ""
        change = smile_change(then, now)
        parts = {
            "level": change.level, "skew": change.skew_part, "curvature": change.curvature_part, "spot": change.slide,
            "rest": change.rest,
        }  # fmt: skip
        split = ", ".join(
            f"{name} {formatting.basis_points(1e4 * value, signed=True)}" for name, value in parts.items()
        )
        since = formatting.utc_time(self.surface.valuation_time_ns)
        return f"{formatting.basis_points(1e4 * change.total, signed=True)} bp since {since}: {split}"
