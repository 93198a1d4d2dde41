"""The README's Python examples run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_first_example_prints_twelve_smiles(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", EXAMPLES[0]], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("days  ATM") == 12


def test_each_linked_file_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert (Path(__file__).parents[1] / link).exists(), link


def test_the_docs_index_names_every_page() -> None:
    docs = Path(__file__).parents[1] / "docs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    for page in docs.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name
