"""A disk that is full, a folder that is not ours, a home that another process holds: clear errors, whole files."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import FactoryError, HomeError
from tests.builders import PARAMS
from warehouse.files import locked, readable_json
from warehouse.store import Store

ROOT = Path(__file__).parents[1]
WRITE = """
import sys
from pathlib import Path
from schemas.errors import HomeError
from schemas.tables import GOLD_CHECKS
from tests.builders import PARAMS, row
from warehouse.files import locked
from warehouse.store import Store

store = Store(Path(sys.argv[1]))
BIG = [row(GOLD_CHECKS, problem_id=f"p{i}", detail=str(hash(i) ** 40)) for i in range(4000)]
SMALL = [row(GOLD_CHECKS, problem_id="small")]

def tried(action):
    try:
        action()
    except HomeError as error:
        print(error)
    else:
        print("written")
"""


def python(code: str, *args: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(home: Path) -> list[str]:
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    code = WRITE + (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "tried(lambda: store.append(GOLD_CHECKS, SMALL))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "tried(lambda: store.append(GOLD_CHECKS, BIG))\n"
        "tried(lambda: store.publish(PARAMS))\n"
        "print(store.ids(GOLD_CHECKS, 'problem_id'))\n"
    )
    said = python(code, tmp_path)
    assert said.startswith("written\ncannot write ")
    assert said.count("cannot write") == 2
    assert said.count("free some space") == 2
    assert said.count("everything written before is whole") == 2
    assert said.endswith("{'small'}\n")
    assert [re.sub(r"\w{20}", "ID", name) for name in files(tmp_path)] == ["derived/gold_checks/ID.parquet"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can make a small disk, and not everywhere; the test above limits files instead")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    code = WRITE + (
        "tried(lambda: store.append(GOLD_CHECKS, SMALL))\n"
        "tried(lambda: store.append(GOLD_CHECKS, BIG))\n"
        "tried(lambda: store.publish(PARAMS))\n"
        "print(store.ids(GOLD_CHECKS, 'problem_id'))\n"
    )
    said = python(code, small_disk)
    assert said.count("No space left on device") == 2
    assert said.count("free some space") == 2
    assert said.startswith("written\ncannot write ")
    assert said.endswith("{'small'}\n")
    assert len(files(small_disk)) == 1


def test_a_folder_that_may_not_be_written() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        home = Path(name)
        home.chmod(0o555)
        drop = "import os\nif os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        actions = (
            "tried(lambda: store.append(GOLD_CHECKS, SMALL))\n"
            "tried(lambda: store.publish(PARAMS))\n"
            "tried(lambda: locked(store.home).__enter__())\n"
        )
        said = python(WRITE + drop + actions, home)
        assert said.count("cannot write") == said.count("Permission denied") == said.count("--home") == 3
        assert files(home) == []
        home.chmod(0o755)


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("")
    with pytest.raises(HomeError, match="cannot write"):
        Store(home).publish(PARAMS)
    with pytest.raises(HomeError, match="cannot write"), locked(home):
        pass


HOLD = """
import sys, time
from pathlib import Path
from warehouse.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_holds_the_home(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    with pytest.raises(HomeError, match=rf"in use by process {holder.pid} since \d{{4}}-\d\d-\d\d"), locked(tmp_path):
        pass
    assert holder.poll() is None


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path), pytest.raises(HomeError, match=f"process {os.getpid()} "), locked(tmp_path):
        pass
    with locked(tmp_path):  # and again, after ours was given back
        pass


def test_a_lock_is_given_back_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    with locked(tmp_path):
        pass


def test_a_lock_does_not_outlive_its_process_in_a_child(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\nfrom pathlib import Path\nfrom warehouse.files import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    child = subprocess.Popen(['sleep', '30'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "    print(child.pid, flush=True)\n"
        "    import os; os._exit(0)\n"
    )
    child = int(python(code, tmp_path))
    try:
        with locked(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", None])
def test_json_that_is_not_whole(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FactoryError, match=f"cannot read {path}"):
        readable_json(path)
