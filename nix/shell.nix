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
  sqlx-cli,
  tilt,
  toolchain,
  jaeger,
  formatter,
}:
mkShell {
  packages = [
    toolchain
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
    tilt
    # What services need, and what looks at them.
    mailpit
    postgresql_17
    process-compose
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

  RUST_SRC_PATH = "${
    toolchain.override { extensions = [ "rust-src" ]; }
  }/lib/rustlib/src/rust/library";

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
