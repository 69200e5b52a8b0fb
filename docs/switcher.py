"""The versions of the site: ``python docs/switcher.py FOLDER URL`` lists the folders for the switcher, newest first."""

import json
import re
import sys
from pathlib import Path


def list_versions(folder):
    """Return the names of the versions that have a folder, newest first, what is on the main branch last."""
    found = [path.name for path in Path(folder).iterdir() if re.fullmatch(r"v\d+(\.\d+)*", path.name)]
    found.sort(key=lambda name: [int(x) for x in name[1:].split(".")], reverse=True)
    return [*found, *(["dev"] if (Path(folder) / "dev").is_dir() else [])]


def write_switcher(folder, url):
    """Write what the theme's switcher reads, and a first page that opens the newest version."""
    versions = list_versions(folder)
    entries = [{"name": name, "version": name, "url": f"{url}/{name}/"} for name in versions]
    if versions and versions[0] != "dev":
        entries[0] |= {"name": f"{versions[0]} (stable)", "preferred": True}
    Path(folder, "switcher.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    opening = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={versions[0]}/">\n'
    Path(folder, "index.html").write_text(opening, encoding="utf-8")


if __name__ == "__main__":
    write_switcher(sys.argv[1], sys.argv[2].rstrip("/"))
