# python:3.11-bookworm (with PACKAGES=python3-dev, on buildpack-deps) and python:3.11-slim-bookworm.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
ARG PACKAGES=
# Debian's Python refuses a pip install outside of virtual environments; the official image's does not.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3 python3-pip python3-venv ${PACKAGES} && \
    rm -f /usr/lib/python3.*/EXTERNALLY-MANAGED && \
    ln -s /usr/bin/python3 /usr/local/bin/python
COPY --from=machine etc/pip.conf /etc/pip.conf
ENV PIP_ROOT_USER_ACTION=ignore
CMD ["python3"]
