# syntax=docker/dockerfile:1
# The binary on Debian's C library, with the roots of trust that `https://` upstreams and issuers need. Not root.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# As it is shipped: optimised by a profile of its everyday load (docs/adr/0018).
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    .ci/release && cp target/shipped/gateway /gateway

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
