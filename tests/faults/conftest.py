"""Makes what is run beside the tests, and Flower's processes of other tests, importable: tests are no package."""

import logging
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "flower"), str(HERE.parent / "server")]
logging.getLogger("flwr").setLevel(logging.CRITICAL)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of four megabytes; needs the right to mount one."""
    import subprocess

    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
