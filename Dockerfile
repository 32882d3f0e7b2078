# Images for the development cluster: programs that cargo compiled, on a small Debian, where a
# program can be replaced in a running container. Nix builds the release images, with the same
# entrypoints, user, ports and labels.
#
#   dev/compile api && docker build --target api --tag miniapp/api:dev .
#
# If the C library of the build machine is newer than Debian's, set another BASE.
ARG BASE=debian:trixie-slim
FROM ${BASE} AS base
# Root certificates for HTTPS and mail; some base images contain them.
RUN test -e /etc/ssl/certs/ca-certificates.crt || { \
        apt-get update --quiet=2 && \
        apt-get install --quiet=2 --yes --no-install-recommends ca-certificates && \
        rm -rf /var/lib/apt/lists/*; \
    }
COPY dev/reload /usr/local/bin/reload
USER 65532:65532

FROM base AS auth
LABEL org.opencontainers.image.title=auth
COPY target/tilt/auth/auth /bin/auth
EXPOSE 8005 9005
ENTRYPOINT ["/bin/auth"]

FROM base AS api
LABEL org.opencontainers.image.title=api
COPY target/tilt/api/api /bin/api
EXPOSE 8000 9000
ENTRYPOINT ["/bin/api"]

FROM base AS worker
LABEL org.opencontainers.image.title=worker
COPY target/tilt/worker/worker /bin/worker
EXPOSE 9001
ENTRYPOINT ["/bin/worker"]

FROM base AS miniapp
LABEL org.opencontainers.image.title=miniapp
COPY target/tilt/miniapp/miniapp /bin/miniapp
EXPOSE 8000 8005 9000
ENTRYPOINT ["/bin/miniapp"]
