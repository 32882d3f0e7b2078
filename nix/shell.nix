# Everything to work on MiniApp with.
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
  k9s,
  kind,
  kubectl,
  kustomize,
  mailpit,
  oha,
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
  # With the sources of std, for rust-analyzer.
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
    sqlx-cli
    formatter
    # The cluster.
    k9s
    kind
    kubectl
    kustomize
    skopeo
    tilt
    # What services need, and what looks at them.
    mailpit
    postgresql_17
    process-compose
    prometheus
    prometheus.cli
    rabbitmq-server
    # Tests start epmd, by which RabbitMQ's nodes find each other, themselves.
    erlang
    # Ways to talk to them.
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
    cargo run -- demo    everything at work within seconds
    ./test               all checks and tests
    nix run .#stack      each service a process, with PostgreSQL, RabbitMQ and Jaeger
    tilt up              the same in a local Kubernetes cluster
    END
  '';
}
