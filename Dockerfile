# Both images from source, for amd64 and arm64:
#   docker build --target gateway -t dbx-gateway .
#   docker buildx build --platform linux/amd64,linux/arm64 --target operator -t dbx-operator .
# The compiler runs on the builder's architecture and crosses to the image's: emulating it would be ten times slower.
FROM --platform=$BUILDPLATFORM rust:1-bookworm AS build
ARG BUILDARCH
ARG TARGETARCH
RUN set -e; \
    case "$BUILDARCH-$TARGETARCH" in \
      amd64-arm64) cross="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;; \
      arm64-amd64) cross="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;; \
    esac; \
    apt-get update; \
    apt-get install --yes --no-install-recommends ca-certificates musl-tools $cross; \
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG PROFILE=release
# What cargo downloads and compiles stays between builds, so that a change here compiles the workspace alone.
# `sharing=locked`: the two images compile one after the other.

FROM build AS build-gateway
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,sharing=locked \
    images/compile dbx-gateway "$PROFILE" "$TARGETARCH" /image/dbx-gateway && images/skeleton /image

FROM build AS build-operator
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,sharing=locked \
    images/compile dbx-operator "$PROFILE" "$TARGETARCH" /image/dbx-operator && images/skeleton /image

FROM scratch AS operator
COPY --from=build-operator /image/ /
USER 65532:65532
ENTRYPOINT ["/dbx-operator"]

# Last, so that a build without --target gives the gateway.
FROM scratch AS gateway
COPY --from=build-gateway /image/ /
USER 65532:65532
ENTRYPOINT ["/dbx-gateway"]
