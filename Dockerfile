# syntax=docker/dockerfile:1.7
# The nextlabel service. Built by docker-compose.yml, or by hand:
#   docker build -t nextlabel .
#   docker build -t nextlabel:cuda --build-arg TORCH_INDEX= .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# Where torch comes from: the CPU build (200 MB); or, if empty, pip's own index, whose build brings the CUDA runtime along
# (several GB).
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/nextlabel
ENV PATH=/opt/nextlabel/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
# torch by itself: the largest layer, which an edit of ours does not touch. Its dependencies come with the next step.
RUN --mount=type=cache,target=/root/.cache/pip \
    grep '^torch==' constraints.txt > torch.txt \
    && pip install --no-deps ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --requirement torch.txt
COPY pyproject.toml README.md LICENSE ./
COPY connectors ./connectors
COPY backend ./backend
COPY recipes ./recipes
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt ".[argilla,demo,postgresql]"

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --create-home --home-dir /data nextlabel && mkdir /recipes
COPY --from=build /opt/nextlabel /opt/nextlabel
# All that lasts is under /data: store, models, generated secrets, and in cache/ what can be downloaded again.
ENV PATH=/opt/nextlabel/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NEXTLABEL_HOME=/data \
    NEXTLABEL_CACHE=/data/cache \
    NEXTLABEL_HOST=0.0.0.0 \
    HF_HOME=/data/cache/huggingface
USER 10001
WORKDIR /recipes
VOLUME /data
EXPOSE 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=6 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('NEXTLABEL_PORT', '9090')}/health\", timeout=4)"]
ENTRYPOINT ["nextlabel"]
CMD ["--help"]
