# The development shell.
{
  lib,
  mkShell,
  rust-analyzer,
  cargo-audit,
  cargo-cyclonedx,
  cargo-deny,
  cargo-nextest,
  curl,
  grpcurl,
  jq,
  just,
  k9s,
  kind,
  kubectl,
  kustomize,
  mailpit,
  mdbook,
  oha,
  pgbouncer,
  postgresql_17,
  erlang,
  process-compose,
  prometheus,
  rabbitmq-server,
  skopeo,
  sqlx-cli,
  tilt,
  toolchain,
  jaeger,
  formatter,
}:
let
  # rust-analyzer needs the sources of the standard library.
  complete = toolchain.override { extensions = [ "rust-src" ]; };
in
mkShell {
  packages = [
    complete
    rust-analyzer
    cargo-audit
    cargo-cyclonedx
    cargo-deny
    cargo-nextest
    just
    mdbook
    sqlx-cli
    formatter
    # Kubernetes.
    k9s
    kind
    kubectl
    kustomize
    skopeo
    tilt
    # Servers, and tools that observe the services.
    mailpit
    pgbouncer
    postgresql_17
    process-compose
    prometheus
    prometheus.cli
    rabbitmq-server
    # Tests start epmd, the name server of RabbitMQ's nodes.
    erlang
    # Clients.
    curl
    grpcurl
    jq
    oha
  ]
  ++ lib.optional (jaeger != null) jaeger;

  RUST_SRC_PATH = "${complete}/lib/rustlib/src/rust/library";

  shellHook = ''
    cat <<'END'
    cargo run            the whole platform in one process
    cargo run -- demo    every feature once, within seconds
    ./test               all checks and tests
    nix run .#stack      separate processes with PostgreSQL, RabbitMQ and Jaeger
    tilt up              the platform in a local Kubernetes cluster
    END
  '';
}
