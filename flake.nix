{
  description = "MiniApp: accounts, tokens and background tasks as one platform";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    crane.url = "github:ipetkov/crane/v0.23.4";
    # The toolchain of rust-toolchain.toml, identical to rustup's.
    rust-overlay = {
      url = "github:oxalica/rust-overlay";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    # Known vulnerabilities of crates, as of the lock file.
    advisory-db = {
      url = "github:rustsec/advisory-db";
      flake = false;
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      crane,
      rust-overlay,
      advisory-db,
    }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];

      toolchain =
        pkgs: (rust-overlay.lib.mkRustBin { } pkgs).fromRustupToolchainFile ./rust-toolchain.toml;
      craneFor = pkgs: (crane.mkLib pkgs).overrideToolchain toolchain;
      programsFor =
        pkgs:
        pkgs.callPackage ./nix/programs.nix {
          craneLib = craneFor pkgs;
          revision = self.rev or null;
        };

      parts = lib.genAttrs systems (
        system:
        let
          pkgs = import nixpkgs {
            inherit system;
            # Without this, the last release that supports it warns on each evaluation.
            config.allowDeprecatedx86_64Darwin = true;
          };
          inherit (pkgs.stdenv.hostPlatform) isLinux;

          programs = programsFor pkgs;
          jaeger = pkgs.callPackage ./nix/jaeger.nix { };
          stack = pkgs.callPackage ./nix/stack.nix { inherit programs jaeger; };
          images = pkgs.callPackage ./nix/images.nix {
            # Static, so that an image contains nothing but the program.
            programs =
              programsFor
                {
                  x86_64-linux = pkgs.pkgsCross.musl64;
                  aarch64-linux = pkgs.pkgsCross.aarch64-multiplatform-musl;
                }
                .${system};
            revision = self.rev or self.dirtyRev or "unknown";
          };
          commands = pkgs.callPackage ./nix/commands.nix { inherit (images) all; };
          checks = pkgs.callPackage ./nix/checks.nix {
            inherit
              programs
              commands
              stack
              jaeger
              formatter
              advisory-db
              ;
            craneLib = craneFor pkgs;
            images = images.all;
            module = self.nixosModules.default;
          };
          formatter = pkgs.callPackage ./nix/formatter.nix { toolchain = toolchain pkgs; };

          app = description: program: {
            type = "app";
            program = lib.getExe program;
            meta = { inherit description; };
          };
        in
        {
          packages = {
            inherit (programs)
              programs
              auth
              api
              worker
              miniapp
              sbom
              ;
            inherit stack;
            default = programs.miniapp;
          }
          // lib.optionalAttrs isLinux (lib.mapAttrs' (name: lib.nameValuePair "image-${name}") images.all);

          apps = {
            default = app "Run the whole platform in one process" programs.miniapp;
            demo = app "Show every feature once, on a temporary platform" programs.demo;
            stack = app "Run the services and their servers as local processes" stack;
          }
          // lib.optionalAttrs isLinux {
            load-images = app "Load the images into Docker, or into a kind cluster" commands.load-images;
            push-images = app "Push the images and print their digests for kustomize" commands.push-images;
          };

          inherit formatter;
          inherit (checks) checks;
          devShells.default = pkgs.callPackage ./nix/shell.nix {
            inherit jaeger formatter;
            toolchain = toolchain pkgs;
          };
        }
      );
      output = name: lib.mapAttrs (_: part: part.${name}) parts;
    in
    lib.genAttrs [ "packages" "apps" "checks" "devShells" "formatter" ] output
    // {
      nixosModules.default = import ./nix/module.nix self;
    };
}
