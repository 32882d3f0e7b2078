# The programs, built together so that shared crates are compiled once. Dependencies are compiled once
# per Cargo.lock.
{
  lib,
  stdenv,
  craneLib,
  runCommand,
  writeShellApplication,
  installShellFiles,
  help2man,
  cargo-cyclonedx,
  # The commit, or null for uncommitted sources.
  revision,
}:
let
  # The released programs.
  descriptions = {
    auth = "MiniApp's accounts, sessions and tokens";
    api = "MiniApp's tasks over HTTP";
    worker = "runs MiniApp's tasks";
    miniapp = "accounts, tokens and background tasks as one platform";
  };
  names = lib.attrNames descriptions;
  package = name: if name == "miniapp" then name else "miniapp-${name}";
  inherit ((lib.importTOML ../Cargo.toml).workspace.package) version;

  # The code and the files that it embeds, so that other files do not cause a rebuild.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      (lib.fileset.fileFilter (file: !file.hasExt "md") ../crates)
      (lib.fileset.fileFilter (file: !file.hasExt "md") ../services)
      ../dev/bench
    ];
  };

  arguments = {
    inherit src version;
    pname = "miniapp-programs";
    strictDeps = true;
    CARGO_PROFILE = "dist";
    # Equal in both steps, because other features would compile other dependencies.
    cargoExtraArgs = "--locked " + lib.concatMapStringsSep " " (name: "--package ${package name}") names;
    doCheck = false;
  };

  all = craneLib.buildPackage (
    arguments
    # Not for the dependencies, which are the same for every commit.
    // lib.optionalAttrs (revision != null) { MINIAPP_REVISION = revision; }
    // {
      # Without `cargo check`, which would compile everything twice.
      cargoArtifacts = craneLib.buildDepsOnly (arguments // { cargoCheckCommand = "true"; });
      # Programs for another platform are for images, which allow no references at all.
      disallowedReferences = lib.optional (stdenv.buildPlatform == stdenv.hostPlatform) craneLib.rustc;
    }
  );

  # A package for each program. Manual and completions need to run it.
  runs = stdenv.buildPlatform.canExecute stdenv.hostPlatform;
  program =
    name: description:
    runCommand "${name}-${version}"
      {
        inherit version;
        pname = name;
        nativeBuildInputs = [
          installShellFiles
          help2man
        ];
        meta = {
          inherit description;
          license = lib.licenses.asl20;
          mainProgram = name;
        };
      }
      ''
        install -D --target-directory $out/bin ${all}/bin/${name}
        ${lib.optionalString runs ''
          help2man --no-info --name ${lib.escapeShellArg description} --output ${name}.1 $out/bin/${name}
          installManPage ${name}.1
        ''}
        ${lib.optionalString (runs && name == "miniapp") ''
          for shell in bash fish zsh; do
            $out/bin/miniapp completions $shell >miniapp.$shell
            installShellCompletion --cmd miniapp --$shell miniapp.$shell
          done
        ''}
      '';
  each = lib.mapAttrs program descriptions;
in
each
// {
  programs = all;

  demo = writeShellApplication {
    name = "miniapp-demo";
    text = ''exec ${lib.getExe each.miniapp} demo "$@"'';
  };

  # The software bill of materials of each program.
  sbom = craneLib.mkCargoDerivation {
    inherit src version;
    pname = "miniapp-sbom";
    cargoArtifacts = null;
    doInstallCargoArtifacts = false;
    nativeBuildInputs = [ cargo-cyclonedx ];
    buildPhaseCargoCommand = "cargo cyclonedx --format json --spec-version 1.5";
    installPhaseCommand = ''
      mkdir $out
      ${lib.concatMapStrings (name: ''
        # As in dev/release, without the folder of the build.
        sed 's#path+file://[^"]*/\(crates\|services\)/#path+file:///miniapp/\1/#g' \
          services/${name}/${package name}.cdx.json >$out/${name}.cdx.json
      '') names}
    '';
  };
}
