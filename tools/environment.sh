#!/bin/sh
# Make .venv and install this project into it, editable, with one of its extras ("base": none).
# Takes uv where it works, otherwise venv and pip. Asks nothing. PYTHON names another interpreter.
set -eu
cd "$(dirname "$0")/.."
extra=$1

fail() {
    echo "$*" >&2
    exit 1
}

quietly() {
    "$@" >/dev/null 2>&1
}

new_enough() {
    quietly "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, and ${PYTHON:-python3} is not; install it, or name one: make PYTHON=/path/to/python3."
}

make_venv() {
    python=$(find_python) || exit 1
    if quietly uv venv --clear --python "$python" .venv; then
        return
    fi
    quietly "$python" -c 'import ensurepip, venv' ||
        fail "Python's venv module is missing; install it (Debian, Ubuntu: apt install python3-venv) and run make again."
    "$python" -m venv --clear .venv
}

install() { # without compiling all modules: Python does so with those that are used, when they first are
    if quietly uv --version && uv pip install --quiet --python .venv/bin/python --editable "$1"; then
        return
    fi
    quietly .venv/bin/python -m pip --version || quietly .venv/bin/python -m ensurepip ||
        fail "There is no pip in .venv; remove the folder .venv and run make again."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-compile --editable "$1"
}

new_enough .venv/bin/python || make_venv
case $extra in
    base) what=. ;;
    *) what=".[$extra]" ;;
esac
echo "Installing napari-gempick ($extra) into .venv; this is done once, and again when pyproject.toml changes." >&2
install "$what"
touch ".venv/.installed-$extra"
[ "$extra" != dev ] || touch .venv/.installed-docs .venv/.installed-test # dev has them
