#!/usr/bin/env bash
# What can be known of a GPU without one (`make gpu-dry`): an environment like that of a GPU machine
# without a network, in .venv-gpu (5 GB), the carried wheels installed into it without an index, the
# tests on fake CUDA tensors, and the dry run of the GPU check. What is there is not made again.
#
# PYTHON312=...    a Python 3.12 (the wheels are for it)
# TORCH_GPU=...    a build of torch with CUDA, TORCHVISION_GPU=... the torchvision that fits
# PIP_ARGS=...     more arguments for pip
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=.venv-gpu
python=${PYTHON312:-python3.12}
torch=${TORCH_GPU:-torch==2.11.0}
torchvision=${TORCHVISION_GPU:-torchvision==0.26.0}
read -r -a pip_args <<< "${PIP_ARGS:-}"
# As on such a machine; pytest is for the tests here.
libraries=(
    hf-xet markdown click matplotlib numpy opencv-python-headless packaging pillow psutil pytest
    pyyaml regex requests rich safetensors scikit-image scikit-learn tifffile tqdm
)

# A name alone may be a shim of a version manager, behind which there is none.
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2> /dev/null; then
    echo "error: $python is no Python 3.12: name a Python 3.12 with PYTHON312=..." >&2
    exit 2
fi
install() {
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-compile "$@"
}
wanted="$torch $torchvision ${libraries[*]}"
if [ "$(cat "$venv/.made" 2> /dev/null)" != "$wanted" ]; then
    echo "== $venv: $torch, $torchvision and what such a machine has"
    "$python" -m venv --clear "$venv"
    install "${pip_args[@]}" "$torch" "$torchvision" "${libraries[@]}"
    echo "$wanted" > "$venv/.made"
fi
script=$(sha256sum < tools/dev/gpu_wheels.sh)
if [ "$(cat "$venv/.wheels_made" 2> /dev/null)" != "$script" ]; then
    PYTHON=$venv/bin/python tools/dev/gpu_wheels.sh "$venv/wheels"
    rm -rf "$venv/site"
    echo '== the wheels, without an index'
    install --no-index --no-deps --target "$venv/site" "$venv"/wheels/*.whl
    echo "$script" > "$venv/.wheels_made"
fi
export PYTHONPATH=$PWD/$venv/site OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
echo '== tests on fake CUDA tensors'
status=0
"$venv/bin/python" -m pytest -q -p no:cacheprovider tests/models/test_devices.py || status=$?
echo '== dry run'
"$venv/bin/python" tools/dev/gpu_check.py --dry --out work_dirs/gpu_dry || status=$?
exit "$status"
