#!/bin/sh
# Install this package into an environment. Usage: envs/install.sh PYTHON_OF_THE_ENVIRONMENT PIP_ARGUMENT...
set -eu
python=$1
shift
constraints=$(dirname "$0")/constraints.txt
if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then
    # the C++ files in pydensecrf2 are for Python 3.12 and older; its build makes new ones where it finds Cython
    "$python" -m pip install --quiet cython setuptools wheel
    "$python" -m pip install --quiet --constraint "$constraints" --no-build-isolation --no-deps pydensecrf2
fi
"$python" -m pip install --quiet --constraint "$constraints" "$@"
