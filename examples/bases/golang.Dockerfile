# golang:1.19-bookworm: Debian's Go at the official place.
FROM buildpack-deps:bookworm
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends golang-1.19-go && \
    ln -s /usr/lib/go-1.19 /usr/local/go && mkdir -p /go/src /go/bin
ENV GOPATH=/go PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /go
CMD ["bash"]
