"""A small disk for the daemon's state folder that really gets full, read-only, or hangs.

An ext4 file system in a file (16 MB), for who may mount one: the kernel's own ENOSPC, its own switch to read-only after an error
(`errors=remount-ro`), its own freeze. Elsewhere the kernel's limit on the size of files does for the first two: the write
fails in the same place, as EFBIG. Nothing is skipped.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

IMAGE_BYTES = 16 * 2**20
OPTIONS = "loop,errors=remount-ro"

Pid = int


@dataclass(kw_only=True)
class SmallDisk:
    """Mounted at `folder`, or a plain folder whose daemon gets a limit (`image` is None then)."""

    folder: Path
    image: Path | None

    @property
    def real(self) -> bool:
        """It is a file system of its own."""
        return self.image is not None

    def fill(self, pid: Pid) -> None:
        """No byte is left."""
        if not self.real:
            _limit(pid, self._largest())
            return
        with (self.folder / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free(self, pid: Pid) -> None:
        """There is room again."""
        if self.real:
            (self.folder / "ballast").unlink()
        else:
            _limit(pid, resource.RLIM_INFINITY)

    def go_read_only(self, pid: Pid) -> None:
        """As ext4 does after an error, with files open for writing."""
        if not self.real:
            _limit(pid, self._largest())
            return
        device = _said("findmnt", "-no", "SOURCE", str(self.folder)).rpartition("/")[2]
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def repair(self) -> None:
        """What an operator does then, while no daemon runs: an ext4 that has given up is never writable again by itself."""
        if self.image is not None:
            _said("umount", str(self.folder))
            subprocess.run(["e2fsck", "-fy", str(self.image)], capture_output=True, check=False)  # 1: mended
            _said("mount", "-o", OPTIONS, str(self.image), str(self.folder))

    def freeze(self) -> None:
        """Writes neither succeed nor fail. Only of a real one."""
        _said("fsfreeze", "--freeze", str(self.folder))

    def thaw(self) -> None:
        """They go on."""
        _said("fsfreeze", "--unfreeze", str(self.folder))

    def _largest(self) -> int:
        return max(each.stat().st_size for each in self.folder.iterdir())


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Make the folder a disk of its own, where that is allowed."""
    folder.mkdir()
    image = folder.with_suffix(".img")
    if not _mounted(image, folder):
        yield SmallDisk(folder=folder, image=None)
        return
    try:
        yield SmallDisk(folder=folder, image=image)
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(folder)], capture_output=True, check=False)
        _said("umount", "--lazy", str(folder))
        image.unlink()


def _mounted(image: Path, folder: Path) -> bool:
    if not all(shutil.which(tool) for tool in ("mkfs.ext4", "mount", "umount", "findmnt", "fsfreeze", "e2fsck")):
        return False
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    try:
        _said("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        _said("mount", "-o", OPTIONS, str(image), str(folder))
    except RuntimeError:
        image.unlink()
        return False
    shutil.rmtree(folder / "lost+found")
    return True


def _limit(pid: Pid, size: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _said(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr.strip()}")
    return ended.stdout.strip()
