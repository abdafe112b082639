# syntax=docker/dockerfile:1
# One static binary, nothing else: no shell, no package manager, no writable file.
#   docker build -t sluice:0.1.0 .
FROM rust:1.95-alpine AS build
RUN apk add --no-cache build-base ca-certificates
WORKDIR /src
COPY . .
# Rust's musl target links statically; what is built is checked to be so.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin sluice \
 && cp target/dist/sluice /sluice \
 && ! ldd /sluice 2>/dev/null | grep -q '=>'

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /sluice /sluice
USER 65532:65532
EXPOSE 8095 8443
ENTRYPOINT ["/sluice"]
CMD ["run", "--config", "/etc/sluice/sluice.yaml"]
