#!/bin/sh
# What an installation needs beside pip, checked first. pydensecrf2 has no wheel, so it is built from source.
# Usage: envs/check_tools.sh PYTHON
set -eu
python=$1
fail() {
    echo "error: $1" >&2
    exit 1
}
has() {
    "$python" -c "$1" 2>/dev/null
}
command -v "$python" >/dev/null || fail "$python not found; install Python 3.11, 3.12 or 3.13, or say make PYTHON=..."
has 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "found $("$python" -V), expected Python 3.11 or newer"
command -v c++ >/dev/null || command -v g++ >/dev/null ||
    fail "no C++ compiler (c++ or g++), which builds pydensecrf2; on Debian and Ubuntu: apt-get install g++"
has 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(os.path.join(s.get_path("include"), "Python.h")))' ||
    fail "Python.h is missing, which pydensecrf2 is built with; on Debian and Ubuntu: apt-get install python3-dev"
