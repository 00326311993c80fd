"""Images made here, since none can be pulled: a tar of a static busybox."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path


def busybox_tar() -> bytes:
    """A root file system that holds nothing but busybox, under all its names."""
    program = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if Path(path).exists()), None)
    if program is None or shutil.which("busybox") is None:
        raise AssertionError("busybox is missing: apt-get install busybox-static")
    applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("bin", "tmp", "etc", "proc", "sys", "dev", "root"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        tar.add(program, "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    return buffer.getvalue()
