# The leasehold server as a container image. Any builder will do, the classic one included;
# both base images can be replaced: docker build --build-arg RUNTIME_IMAGE=… .
ARG BUILD_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src

# The dependencies in a layer of their own, built against an empty crate: a change in src/ does not
# build them again. The empty crate's own artifacts go, for cargo compares times of change, and the
# real sources may be older than they are. Benchmarks and tests stay empty: Cargo.toml names some.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches tests \
    && echo 'fn main() {}' | tee build.rs > src/main.rs \
    && sed -n -e '/^\[\[bench]]$/{n;s|^name = "\(.*\)"|benches/\1.rs|p}' \
        -e '/^\[\[test]]$/{n;s|^name = "\(.*\)"|tests/\1.rs|p}' Cargo.toml | xargs touch src/lib.rs \
    && cargo build --release --locked \
    && cargo clean --release --package leasehold

# All that .dockerignore lets through, in one layer.
COPY . ./
RUN cargo build --release --locked --bin leasehold

FROM ${RUNTIME_IMAGE}

# curl for health checks written by hand, the certificates for what the server itself calls over TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && apt-get clean && rm -rf /var/lib/apt/lists/*

# The ids are fixed, so that a bind mount or a Kubernetes fsGroup can name them. A fresh named volume
# takes its owner from the directory it covers.
RUN groupadd --gid 10001 leasehold \
    && useradd --uid 10001 --gid leasehold --no-create-home --home-dir /var/lib/leasehold \
        --shell /usr/sbin/nologin leasehold \
    && install -d -o leasehold -g leasehold -m 0750 /var/lib/leasehold

COPY --from=build /src/target/release/leasehold /usr/local/bin/leasehold

USER 10001:10001
WORKDIR /var/lib/leasehold
VOLUME /var/lib/leasehold
# Loopback in a container reaches nobody.
ENV LEASEHOLD_LISTEN=0.0.0.0:9000 LEASEHOLD_DATA_DIR=/var/lib/leasehold
EXPOSE 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["leasehold", "healthcheck"]
ENTRYPOINT ["leasehold"]
CMD ["serve"]

# Last, for they change with every build.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="leasehold" \
    org.opencontainers.image.description="A service registry: register, keep alive over a stream, watch." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
