#!/bin/sh
# Make a Python environment and install the project into it:   sh tools/prepare.sh .venv '.[test]'
# pip uses the index that it is configured with. PYTHON names the Python to use (3.10 to 3.13).
# As root on Debian, missing system packages are installed; otherwise they are named.
set -eu
venv=$1
what=$2

stop() {
    echo "$*" >&2
    exit 1
}

can_install() {
    [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null
}

# Install Debian packages, or say which are missing.
need() {
    can_install || stop "Missing system packages; install them and run make again: $*"
    echo "Installing system packages: $*"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; } ||
        stop "These system packages could not be installed; install them and run make again: $*"
}

good_version() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if command -v "$candidate" >/dev/null && good_version "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

if [ ! -x "$venv/bin/python" ] || ! good_version "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    if [ -z "$python" ] && [ -z "${PYTHON:-}" ] && ! command -v python3 >/dev/null; then
        need python3 python3-venv
        python=$(find_python)
    fi
    if [ -z "$python" ]; then
        named=${PYTHON:-python3}
        found=$("$named" --version 2>/dev/null) || found="not there"
        stop "Python 3.10, 3.11, 3.12 or 3.13 is needed, and $named is $found;" \
            "install one and run: make PYTHON=/path/to/it"
    fi
    # Debian splits venv from Python: the standard library then lacks ensurepip.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        need "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    rm -rf "$venv"
    echo "Making the environment $venv with $("$python" --version)"
    "$python" -m venv "$venv"
fi

echo "Installing the project and its libraries; this takes some minutes the first time"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints-cpu.txt -e "$what" ||
    stop "pip could not install the project; its own message is above."

# check CODE PACKAGES: CODE loads what pip installed; PACKAGES are what it then needs of the system.
check() {
    load=$1
    shift
    said=$("$venv/bin/python" -c "$load" 2>&1) && return
    case $said in
    *"cannot open shared object file"* | *"platform plugin"* | *"OpenGL functions"*) need "$@" ;;
    esac
    "$venv/bin/python" -c "$load" || stop "A library cannot be loaded; the message above says which."
}

check 'import torch, SimpleITK, matplotlib.backends.backend_agg, scipy.ndimage' libgomp1 libstdc++6 libgl1

# The window. Elsewhere than on Linux it needs nothing of the system.
if [ "$(uname)" = Linux ] && "$venv/bin/python" -c 'import importlib.util as u; exit(not u.find_spec("slicer"))'; then
    QT_QPA_PLATFORM=offscreen VTK_DEFAULT_OPENGL_WINDOW=vtkEGLRenderWindow
    export QT_QPA_PLATFORM VTK_DEFAULT_OPENGL_WINDOW
    check '
from PySide6.QtWidgets import QApplication
from vtkmodules.vtkRenderingCore import vtkRenderWindow
import vtkmodules.vtkRenderingOpenGL2
QApplication([])
window = vtkRenderWindow()
window.SetOffScreenRendering(True)
window.Render()
' libgl1 libegl1 libgl1-mesa-dri libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0
    if [ -n "${DISPLAY:-}" ]; then
        check '
import ctypes, pathlib, PySide6
ctypes.CDLL(str(pathlib.Path(PySide6.__file__).parent / "Qt/plugins/platforms/libqxcb.so"))
' libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-xkb1 libxkbcommon-x11-0
    fi
fi
