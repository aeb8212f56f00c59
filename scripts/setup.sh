#!/bin/sh
# Make .venv, install the package with its test tools, and see that the system libraries are there.
# Usage: sh scripts/setup.sh [PYTHON]
set -eu

python=${1:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed, this is $("$python" --version); set PYTHON=..." >&2
    exit 2
}

missing=""
for pair in libGL.so.1:libgl1 libglib-2.0.so.0:libglib2.0-0 libEGL.so.1:libegl1; do
    ldconfig -p 2>/dev/null | grep -q "${pair%%:*}" || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q && apt-get install -q -y --no-install-recommends $missing
    else
        echo "system libraries are missing; run:  sudo apt-get install -y$missing" >&2
    fi
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install -q --upgrade pip
.venv/bin/python -m pip install -q -e '.[dev]'
