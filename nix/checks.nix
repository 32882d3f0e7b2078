# What `nix flake check` looks at. Each check is a build that fails where something is wrong.
{
  lib,
  stdenv,
  runCommand,
  testers,
  cacert,
  curl,
  erlang,
  kustomize,
  opentelemetry-collector-contrib,
  postgresql_17,
  prometheus,
  rabbitmq-server,
  craneLib,
  programs,
  images,
  jaeger,
  advisory-db,
  formatter,
  module,
}:
let
  # All of it: tests read the README, and what is beside the code.
  arguments = {
    src = lib.cleanSource ../.;
    pname = "miniapp";
    inherit (programs.miniapp) version;
    strictDeps = true;
    # As developers build it, so that tests find what only debug assertions see.
    CARGO_PROFILE = "dev";
    cargoExtraArgs = "--locked --workspace";
  };
  # For tools that take no such arguments.
  unbuilt = {
    inherit (arguments) src pname version;
  };
  compiled = arguments // {
    cargoArtifacts = craneLib.buildDepsOnly arguments;
  };

  tests =
    name: servers: environment:
    craneLib.cargoTest (
      compiled
      // environment
      // {
        pname = "miniapp-${name}";
        nativeCheckInputs = [
          cacert
          curl
        ]
        ++ servers;
        preCheck = "export HOME=$TMPDIR";
        __darwinAllowLocalNetworking = true;
      }
    );

  # For checks that only look at files, each if the file it is about is there.
  configuration = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      (lib.fileset.maybeMissing ../kustomize)
      (lib.fileset.maybeMissing ../observability)
    ];
  };
  look =
    file: name: inputs: script:
    lib.optionalAttrs (builtins.pathExists (../. + "/${file}")) {
      ${name} = runCommand name { nativeBuildInputs = inputs; } ''
        cd ${configuration}
        ${script}
        touch $out
      '';
    };
in
# One level down: callPackage adds functions to the outer one.
{
  checks = {
    inherit (programs) miniapp sbom;
    clippy = craneLib.cargoClippy (
      compiled // { cargoClippyExtraArgs = "--all-targets -- --deny warnings"; }
    );
    format = runCommand "format" { nativeBuildInputs = [ formatter ]; } ''
      cp --recursive --no-preserve=mode ${arguments.src} source
      cd source
      format --check
      touch $out
    '';
    tests-embedded = tests "tests-embedded" [ ] { MINIAPP_TESTS = "embedded"; };
    tests-servers = tests "tests-servers" (
      [
        erlang
        postgresql_17
        prometheus
        prometheus.cli
        rabbitmq-server
      ]
      ++ lib.optional (jaeger != null) jaeger
      ++ lib.optional stdenv.hostPlatform.isLinux opentelemetry-collector-contrib
    ) { };
    deny = craneLib.cargoDeny unbuilt;
    advisories = craneLib.cargoAudit (unbuilt // { inherit advisory-db; });
  }
  // lib.optionalAttrs stdenv.hostPlatform.isLinux {
    # Each is a program and little else.
    images = runCommand "images" { } ''
      for image in ${toString (lib.attrValues images)}; do
        size=$($image | wc --bytes)
        echo "$image: $size bytes"
        ((size < 40000000))
      done
      touch $out
    '';
  }
  // look "kustomize/overlays/prod/kustomization.yaml" "kustomize" [ kustomize ] ''
    for overlay in kustomize/overlays/*/; do
      kustomize build "$overlay" >/dev/null
    done
  ''
  // look "observability/prometheus/prometheus.yml" "prometheus" [ prometheus.cli ] ''
    cd observability
    promtool check config prometheus/prometheus.yml
    promtool test rules prometheus/*_test.yml
  ''
  // lib.optionalAttrs stdenv.hostPlatform.isLinux (
    look "observability/collector/config.yaml" "collector" [ opentelemetry-collector-contrib ] ''
      cd observability
      otelcol-contrib validate --config collector/config.yaml --config collector/health.yaml
    ''
  )
  // lib.optionalAttrs (jaeger != null) (
    look "observability/jaeger/memory.yaml" "jaeger" [ jaeger ] ''
      for file in memory badger; do
        jaeger validate --config observability/jaeger/$file.yaml
      done
    ''
  )
  // lib.optionalAttrs (jaeger != null && stdenv.hostPlatform.isLinux) {
    machine = testers.runNixOSTest (import ./vm-test.nix { inherit module jaeger; });
  };
}
