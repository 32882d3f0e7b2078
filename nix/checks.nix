# The checks of `nix flake check`. Each check is a build that fails if something is wrong.
{
  lib,
  stdenv,
  runCommand,
  testers,
  cacert,
  curl,
  erlang,
  kustomize,
  pgbouncer,
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
  # The whole repository, because tests read the documentation and manifests.
  arguments = {
    src = lib.cleanSource ../.;
    pname = "miniapp";
    inherit (programs.miniapp) version;
    strictDeps = true;
    # The profile of developers, with debug assertions.
    CARGO_PROFILE = "dev";
    # The benchmark reads /proc, which only Linux has.
    cargoExtraArgs =
      "--locked --workspace" + lib.optionalString (!stdenv.hostPlatform.isLinux) " --exclude miniapp-bench";
  };
  # For tools that do not accept the other arguments.
  unbuilt = {
    inherit (arguments) src pname version;
  };
  compiled = arguments // {
    cargoArtifacts = craneLib.buildDepsOnly arguments;
    # No other derivation continues from these.
    doInstallCargoArtifacts = false;
  };

  tests =
    name: command: servers:
    craneLib.mkCargoDerivation (
      compiled
      // {
        pname = "miniapp-${name}";
        nativeCheckInputs = [
          cacert
          curl
        ]
        ++ servers;
        postPatch = "patchShebangs test crates/test-support";
        buildPhaseCargoCommand = "";
        doCheck = true;
        preCheck = "export HOME=$TMPDIR";
        checkPhaseCargoCommand = command;
      }
    );

  # For checks that only read files. Each is left out if its file does not exist.
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
# One level down, because callPackage adds functions to the outer set.
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
    # An image contains a program and little else.
    images = runCommand "images" { } ''
      for image in ${toString (lib.catAttrs "archive" (lib.attrValues images))}; do
        size=$(stat --format=%s $image)
        echo "$image: $size bytes"
        ((size < 40000000))
      done
      touch $out
    '';
    # Tests that need servers are ignored by default.
    tests-embedded = tests "tests-embedded" "cargo test --locked --workspace" [ ];
    tests-servers = tests "tests-servers" "./test everything" (
      [
        erlang
        pgbouncer
        postgresql_17
        prometheus
        prometheus.cli
        rabbitmq-server
      ]
      ++ lib.optional (jaeger != null) jaeger
    );
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
    # Jaeger contains a collector with all components of these pipelines. The collector of nixpkgs
    # may be older and lack some of their settings.
    look "observability/jaeger/memory.yaml" "pipelines" [ jaeger ] ''
      for file in jaeger/memory jaeger/badger collector/config; do
        jaeger validate --config observability/$file.yaml
      done
    ''
  )
  # Needs /dev/kvm, which the ARM machines of build services lack.
  // lib.optionalAttrs (stdenv.hostPlatform.system == "x86_64-linux") {
    machine = testers.runNixOSTest (import ./vm-test.nix { inherit module jaeger; });
  };
}
