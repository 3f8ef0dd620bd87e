# The nextlabel service. Built by docker-compose.yml, or by hand:
#   docker build -t nextlabel .
#   docker build -t nextlabel:cuda --build-arg TORCH_INDEX= .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS libraries
# Where torch comes from: the CPU build (200 MB); or, if empty, wherever pip is configured to look, whose build usually
# brings the CUDA runtime along (several GB).
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/nextlabel
ENV PATH=/opt/nextlabel/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
# torch by itself: the largest download, which an edit of ours does not touch.
RUN --mount=type=cache,target=/root/.cache/pip \
    grep '^torch==' constraints.txt > torch.txt \
    && pip install --no-compile --no-deps ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --requirement torch.txt
# The libraries that pyproject.toml names, without our own code. What only the libraries' own developers need stays out:
# headers, tests, bytecode (made again in /data/cache), and OpenCV, which the Label Studio SDK wants for masks alone.
COPY pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; from pathlib import Path; \
project = tomllib.loads(Path('pyproject.toml').read_text())['project']; \
extras = [project['optional-dependencies'][name] for name in ('argilla', 'demo', 'label-studio', 'postgresql', 'train')]; \
print(*(one for part in (project['dependencies'], *extras) for one in part if not one.startswith('nextlabel[')), sep='\n')" \
       > libraries.txt \
    && pip install --no-compile --constraint constraints.txt --requirement libraries.txt \
    && pip uninstall --yes --quiet opencv-python-headless \
    && packages="$(python -c "import sysconfig; print(sysconfig.get_path('purelib'))")" \
    && rm -rf "$packages"/torch/include "$packages"/torch/test "$packages"/torch/share "$packages"/pyarrow/include \
    && find "$packages"/torch/bin -type f ! -name torch_shm_manager -delete \
    && for name in matplotlib networkx onnx pandas pyarrow scipy sklearn sympy; do \
         find "$packages/$name" -type d -name tests -prune -exec rm -rf {} +; done
# What is in the image, for scanners: CycloneDX, made in an environment of its own.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/sbom && /opt/sbom/bin/pip install --quiet cyclonedx-bom==7.5.0 \
    && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/nextlabel/sbom.cdx.json /opt/nextlabel/bin/python

FROM libraries AS ours
COPY README.md LICENSE ./
COPY connectors ./connectors
COPY backend ./backend
COPY recipes ./recipes
RUN --mount=type=cache,target=/root/.cache/pip pip wheel --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE}
# User 10001 of group 0, which owns all that is written: platforms that choose the user themselves (OpenShift) keep that group.
RUN useradd --system --uid 10001 --gid 0 --no-create-home --home-dir /data nextlabel \
    && install --directory --owner 10001 --group 0 --mode 2770 /data && mkdir /recipes
# Two layers: the libraries, and ours, which is all that an edit of ours changes.
COPY --from=libraries /opt/nextlabel /opt/nextlabel
RUN --mount=type=bind,from=ours,source=/wheels,target=/wheels \
    /opt/nextlabel/bin/pip install --no-deps --no-compile --no-cache-dir --disable-pip-version-check --no-index /wheels/*.whl
# All that lasts is under /data: store, models, generated secrets, and in cache/ what can be made or downloaded again.
ENV PATH=/opt/nextlabel/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONPYCACHEPREFIX=/data/cache/bytecode \
    NEXTLABEL_HOME=/data \
    NEXTLABEL_CACHE=/data/cache \
    NEXTLABEL_HOST=0.0.0.0 \
    HOME=/data \
    XDG_CACHE_HOME=/data/cache \
    HF_HOME=/data/cache/huggingface
# The commit that it was built from, if the build says so.
ARG REVISION=
LABEL org.opencontainers.image.title="nextlabel" \
      org.opencontainers.image.description="Active learning on Label Studio and Argilla" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:0
WORKDIR /recipes
VOLUME /data
EXPOSE 9090
# Ready: people can label in the order that the service made. /health says only that it runs.
HEALTHCHECK --interval=10s --timeout=5s --start-period=1800s --retries=6 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('NEXTLABEL_PORT', '9090')}/ready\", timeout=4)"]
ENTRYPOINT ["nextlabel"]
CMD ["--help"]
