#!/bin/sh
# Run a command on a screen of its own (Xvfb), so that tests of the window need none and show none.
# On Debian and Ubuntu, missing packages are installed when this is run by root; else one sentence says which.
set -eu
PACKAGES="xvfb xauth libgl1 libegl1 libglib2.0-0 libfontconfig1 libxkbcommon0 libdbus-1-3 libxcb-cursor0 libxcb-icccm4
libxcb-keysyms1 libxcb-shape0 libxcb-xkb1 libxkbcommon-x11-0"

installed() { # some names end in t64 in newer releases
    for name in "$1" "$1t64"; do
        case $(dpkg-query -W -f='${Status}' "$name" 2>/dev/null) in *"ok installed") return 0 ;; esac
    done
    return 1
}

if command -v dpkg-query >/dev/null; then
    missing=
    for package in $PACKAGES; do
        installed "$package" || missing="$missing $package"
    done
    if [ -n "$missing" ] && [ "$(id -u)" -eq 0 ]; then
        echo "Installing$missing; this is done once." >&2
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086
        { apt-get install -y -qq --no-install-recommends $missing || { apt-get update -qq &&
            apt-get install -y -qq --no-install-recommends $missing; }; } >/dev/null 2>&1 ||
            { echo "These packages could not be installed:$missing; check the network and apt-get." >&2; exit 1; }
    elif [ -n "$missing" ]; then
        echo "The tests of the window need these packages: run  sudo apt-get install$missing  and then make again." >&2
        exit 1
    fi
elif ! command -v xvfb-run >/dev/null; then
    echo "The tests of the window need Xvfb with xvfb-run; install it and run make again." >&2
    exit 1
fi
exec xvfb-run -a -s "-screen 0 1280x900x24" "$@"
