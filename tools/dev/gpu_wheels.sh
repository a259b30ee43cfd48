#!/usr/bin/env bash
# Collect the wheels that a GPU machine without a network lacks, for CPython 3.12 on x86-64 Linux.
#
#   tools/dev/gpu_wheels.sh [FOLDER]      default: .gpu_wheels
#
# There: pip install --no-index --no-deps --target SITE FOLDER/*.whl, and PYTHONPATH=SITE.
# The machine is expected to have torch, torchvision, numpy, OpenCV, Pillow, matplotlib, PyYAML,
# rich, safetensors, tifffile, scikit-image, scikit-learn, regex, requests and tqdm. Nothing here
# needs a version of torch; none is among the wheels, and no library of CUDA.
#
# PYTHON=...   a Python with pip that collects (any version; sdists are built with it)
# PIP_ARGS=... more arguments for pip
set -euo pipefail

folder=${1:-.gpu_wheels}
limit_mb=60
read -r -a pip_args <<< "${PIP_ARGS:-}"
pip=("${PYTHON:-python3}" -m pip)

# What tools/train.py needs.
needed=(
    addict==2.4.0
    braceexpand==0.1.7
    imagecodecs==2026.3.6
    onedl-mmengine==0.10.12
    platformdirs==4.14.8
    simplejpeg==1.9.0
    termcolor==3.3.0
    webdataset==1.0.2
    yapf==0.43.0
)
# The peers: mmpretrain with what it imports, Hugging Face's ViTMAE (mmpretrain does not import
# beside transformers 5), and timm for the official code.
peers=(
    einops==0.8.2
    huggingface-hub==0.36.2
    importlib-metadata==10.2.0
    mat4py==0.6.0
    model-index==0.1.11
    modelindex==0.0.2
    ordered-set==4.1.0
    timm==1.0.31
    tokenizers==0.22.2
    transformers==4.57.6
    zipp==4.1.2
)
# No wheels of these are published. Built where no torch is seen, mmcv has no compiled operators.
sources=(
    onedl-mmcv==2.3.6
    onedl-mmpretrain==1.3.6
)
platforms=(manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64)

# Filled beside and moved in place: an interruption leaves no half-filled folder.
partial=$folder.partial
rm -rf "$partial"
mkdir -p "$partial"
trap 'rm -rf "$partial"' EXIT

echo "== ${#needed[@]} needed, ${#peers[@]} for the peers"
"${pip[@]}" download -q --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 3.12 --implementation cp "${platforms[@]/#/--platform=}" \
    -d "$partial" "${pip_args[@]}" "${needed[@]}" "${peers[@]}"
echo "== ${#sources[@]} built from source"
"${pip[@]}" wheel -q --disable-pip-version-check --no-deps --no-cache-dir \
    -w "$partial" "${pip_args[@]}" "${sources[@]}"

if find "$partial" -name 'onedl_*.whl' ! -name '*-none-any.whl' | grep .; then
    echo 'error: this wheel is not pure Python: build where the environment shows no torch' >&2
    exit 1
fi
bytes=$(cat "$partial"/*.whl | wc -c)
count=$(find "$partial" -name '*.whl' | wc -l)
if [ "$bytes" -gt $((limit_mb * 1000 * 1000)) ]; then
    echo "error: $count wheels hold $bytes bytes, over the limit of $limit_mb MB" >&2
    exit 1
fi
rm -rf "$folder"
mv "$partial" "$folder"
trap - EXIT
echo "$folder: $count wheels, $((bytes / 1000 / 1000)).$((bytes / 100000 % 10)) MB together"
