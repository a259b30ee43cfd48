# mae_plugin with torch and the maintained OpenMMLab packages; docs/installation.md says how to run it.
#
#   docker build -t mae_plugin .                                         # any machine, CPU
#   docker build -t mae_plugin --build-arg BASE=pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime .
#
# BASE needs Python 3.10 to 3.13. A torch that it has is kept.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

# The torch for a base without one; EXTRA: onedl, cls, seg; PIP_ARGS: an index with CPU builds of torch.
ARG TORCH=torch==2.13.0
ARG EXTRA=onedl
ARG PIP_ARGS=

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib

# OpenCV's libraries, and a compiler for packages that have no wheel for the base's Python.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# hadolint ignore=DL3013,SC2086
RUN python -c 'import torch' 2>/dev/null || pip install ${PIP_ARGS} "${TORCH}"

COPY . /opt/mae_plugin
# hadolint ignore=DL3013,SC2086
RUN pip install ${PIP_ARGS} "/opt/mae_plugin[${EXTRA}]" \
    && mae-plugin configs > /dev/null

# Runs write where they are started: mount a folder of yours there.
RUN useradd --uid 10001 --create-home --home-dir /runs user
USER 10001
WORKDIR /runs
ENTRYPOINT ["mae-plugin"]
CMD ["--help"]
