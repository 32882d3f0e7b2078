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
  postgresql_17,
  prometheus,
  rabbitmq-server,
  craneLib,
  programs,
  images,
  commands,
  stack,
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
    # The benchmark reads what only Linux tells of other processes.
    cargoExtraArgs =
      "--locked --workspace" + lib.optionalString (!stdenv.hostPlatform.isLinux) " --exclude miniapp-bench";
  };
  # For tools that take no such arguments.
  unbuilt = {
    inherit (arguments) src pname version;
  };
  compiled = arguments // {
    cargoArtifacts = craneLib.buildDepsOnly arguments;
    # Nobody goes on from there.
    doInstallCargoArtifacts = false;
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
    inherit (programs)
      miniapp
      auth
      api
      worker
      sbom
      ;
    inherit stack;
    clippy = craneLib.cargoClippy (
      compiled // { cargoClippyExtraArgs = "--all-targets -- --deny warnings"; }
    );
    format = runCommand "format" { nativeBuildInputs = [ formatter ]; } ''
      cp --recursive --no-preserve=mode ${arguments.src} source
      cd source
      format --check
      touch $out
    '';
    deny = craneLib.cargoDeny unbuilt;
    advisories = craneLib.cargoAudit (unbuilt // { inherit advisory-db; });
  }
  // lib.optionalAttrs stdenv.hostPlatform.isLinux {
    inherit (commands) load-images push-images;
    # Each is a program and little else.
    images = runCommand "images" { } ''
      for image in ${toString (lib.catAttrs "archive" (lib.attrValues images))}; do
        size=$(stat --format=%s $image)
        echo "$image: $size bytes"
        ((size < 40000000))
      done
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
    ) { };
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
  // lib.optionalAttrs (jaeger != null) (
    # Jaeger is a collector itself, with every part that the pipelines of ours have; nixpkgs'
    # own collector may be older than it says, and not know all of their settings.
    look "observability/jaeger/memory.yaml" "pipelines" [ jaeger ] ''
      for file in jaeger/memory jaeger/badger collector/config; do
        jaeger validate --config observability/$file.yaml
      done
    ''
  )
  # Needs /dev/kvm, which the ARM machines of build services haven't got.
  // lib.optionalAttrs (stdenv.hostPlatform.system == "x86_64-linux") {
    machine = testers.runNixOSTest (import ./vm-test.nix { inherit module jaeger; });
  };
}
