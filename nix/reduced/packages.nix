# What the flake asks of nixpkgs and the cut hasn't got.
final: previous:
let
  inherit (previous) lib;

  # A program that is a name, and the machine's own where it has that.
  program =
    name:
    final.runCommand name { meta.mainProgram = name; } ''
      mkdir -p $out/bin
      [[ ! -e /usr/bin/${name} ]] || ln -s /usr/bin/${name} $out/bin
    '';
  programs = [
    "apple-sdk"
    "autoPatchelfHook"
    "bintools"
    "cacert"
    "cargo"
    "cargo-audit"
    "cargo-cyclonedx"
    "cargo-deny"
    "cargo-nextest"
    "clippy"
    "coreutils"
    "curl"
    "erlang"
    "fakeroot"
    "findutils"
    "gnutar"
    "grpcurl"
    "help2man"
    "jq"
    "k9s"
    "kind"
    "kubectl"
    "kustomize"
    "libiconv"
    "lndir"
    "mailpit"
    "nixfmt"
    "oha"
    "opentelemetry-collector-contrib"
    "patchelf"
    "perl"
    "postgresql_17"
    "process-compose"
    "rabbitmq-server"
    "rsync"
    "rust-analyzer"
    "rustc"
    "rustfmt"
    "skopeo"
    "sqlx-cli"
    "tilt"
    "zlib"
    "zstd"
  ];
in
lib.genAttrs programs program
// {
  bash = program "bash" // {
    shellPath = "/bin/bash";
  };
  runtimeShell = "/bin/bash";
  gccForLibs.lib = program "libgcc";
  prometheus = program "prometheus" // {
    cli = program "promtool";
  };
  darwin.signingUtils = program "signing-utils";
  # All of them, in any order.
  referencesByPopularity =
    path:
    final.runCommand "references" {
      exportReferencesGraph = [
        "graph"
        path
      ];
    } "grep '^/nix/store/' graph | grep -v '\\.drv$' | sort -u >$out";
  mkShell = final.callPackage ./core/pkgs/build-support/mkshell { };
  rustPlatform.buildRustPackage = { pname, ... }: program pname;
  writableTmpDirAsHomeHook = final.makeSetupHook { name = "writable-tmpdir-as-home-hook"; } (
    final.writeText "hook.sh" "export HOME=$(mktemp -d)"
  );
  fetchurl =
    {
      url,
      name ? baseNameOf url,
      sha256 ? "",
      hash ? "",
      ...
    }:
    import <nix/fetchurl.nix> {
      inherit
        url
        name
        sha256
        hash
        ;
    };
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      passthru ? { },
      meta ? { },
    }:
    final.writeTextFile {
      inherit name;
      executable = true;
      destination = "/bin/${name}";
      text = ''
        #!/bin/bash
        set -euo pipefail
        export PATH="${lib.makeBinPath runtimeInputs}:$PATH"
        ${text}
      '';
      checkPhase = "bash -n $out/bin/${name}";
      derivationArgs.passthru = passthru;
      meta = meta // {
        mainProgram = name;
      };
    };
  dockerTools =
    let
      docker = import ./core/pkgs/build-support/docker;
      required = lib.filterAttrs (_: isOptional: !isOptional) (lib.functionArgs docker);
    in
    docker (
      lib.mapAttrs (name: _: final.${name} or { }) required
      // {
        go.GOARCH = lib.head (lib.splitString "-" final.stdenv.hostPlatform.system);
        writePython3 =
          name: _: file:
          final.runCommand name { } "{ echo '#!/usr/bin/env python3'; cat ${file}; } >$out; chmod +x $out";
      }
    )
    // {
      caCertificates = program "ca-certificates";
    };
  formats = {
    # Sections of plain values, which read the same in TOML and JSON.
    toml = _: {
      inherit
        (
          (import ./core/pkgs/pkgs-lib/formats.nix {
            inherit lib;
            pkgs = final;
          }).toml
          { }
        )
        type
        ;
      generate =
        name: sections:
        final.writeText name (
          lib.generators.toINI {
            mkKeyValue = lib.generators.mkKeyValueDefault { mkValueString = builtins.toJSON; } " = ";
          } sections
        );
    };
  };
  testers = previous.testers // {
    # The machines' units, instead of machines.
    runNixOSTest =
      { name, nodes, ... }:
      final.callPackage ./units.nix { inherit name nodes; };
  };
}
