"""Named fit settings as files, `presets/<name>.toml` in the data folder: saved from the page, edited by hand, read back."""

import re
from pathlib import Path
from typing import Any

from volsurface.errors import SettingsError
from volsurface.settings import Settings, read_settings_file, write_settings_file

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,39}")


class Presets:
    """The presets of one folder, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Return the names there are, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.toml"))

    def save(self, name: str, fit: dict[str, Any]) -> Path:
        """Write fit settings under a name, in the place of an older preset of it; raises SettingsError when they cannot be."""
        if not NAME.fullmatch(name):
            raise SettingsError(
                f"a preset is named with up to 40 letters, digits, spaces, - or _, beginning with a letter or digit; found {name!r}"
            )
        Settings({"fit": fit})  # only what can be read back
        path = self.folder / f"{name}.toml"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_settings_file(path, {"fit": fit})
        except OSError as error:
            raise SettingsError(f"cannot write preset {path}: {error.strerror}") from error
        return path

    def load(self, name: str) -> dict[str, Any]:
        """Return a preset's fit settings; raises SettingsError naming the file and what in it is not allowed."""
        path = self.folder / f"{name}.toml"
        values = read_settings_file(path)
        other = sorted(set(values) - {"fit"})
        if other:
            raise SettingsError(f"{path}: a preset has one table, [fit]; found {', '.join(other)} as well")
        Settings().update(values, str(path))
        return dict(values.get("fit", {}))
