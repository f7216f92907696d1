# syntax=docker/dockerfile:1
# The binary on Debian's C library, with the roots of trust that `https://` upstreams and issuers need. Not root.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin gateway && cp target/release/gateway /gateway

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /gateway /usr/local/bin/gateway
COPY gateway.toml /etc/gateway/gateway.toml
ENV GATEWAY_CONFIG=/etc/gateway/gateway.toml
EXPOSE 8080
# Reads the same config and environment as the gateway, and asks its admin port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/gateway", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/gateway"]
CMD ["run"]
