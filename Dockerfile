# The README's two commands in clean images:
#
#   docker build --tag gpt . && docker run --rm --volume "$PWD/runs:/gpt/runs" gpt
#   docker build --target test --tag gpt-test . && docker run --rm gpt-test
#
# For a CPU alone, --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves gigabytes.

FROM python:3.13-slim AS installed
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /gpt
COPY . .
RUN pip install -e .

FROM installed AS test
ARG PIP_EXTRA_INDEX_URL
# The tests compare stages with git, and compile a library that makes file operations fail.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes gcc git libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN pip install -e '.[test]'
CMD ["pytest"]

FROM installed
CMD ["python", "train.py", "model=v5"]
