# Stands in for nixpkgs, for `./test nix` on a machine that can't download it: a public cut
# of nixpkgs in ./core (its library and its builders), a standard environment out of the
# machine's own /usr, and packages that are only names. Derivations that need a shell and no
# more can be built with it.
{
  system,
  crossSystem ? null,
  config ? { },
  overlays ? [ ],
}:
let
  lib = (import ./core/lib).extend (
    _: previous: {
      version = "26.05";
      trivial = previous.trivial // {
        version = "26.05";
      };
    }
  );

  stdenvStages =
    {
      localSystem,
      crossSystem,
      config,
      overlays,
      ...
    }:
    let
      compiler = derivation {
        name = "cc";
        inherit system;
        builder = "/bin/bash";
        args = [
          "-c"
          "/bin/mkdir -p $out/bin && /bin/ln -s /usr/bin/{cc,c++,ar} $out/bin"
        ];
      };
      stage = buildPlatform: hostPlatform: targetPlatform: _: {
        inherit config overlays;
        allowCustomOverrides = true;
        selfBuild = buildPlatform == targetPlatform;
        stdenv = import ./core/pkgs/stdenv/generic {
          inherit
            config
            buildPlatform
            hostPlatform
            targetPlatform
            ;
          initialPath = [ "/usr" ];
          shell = "/bin/bash";
          fetchurlBoot = import <nix/fetchurl.nix>;
          cc = compiler // {
            targetPrefix = "";
            isClang = false;
            libc = "/usr";
            bintools = lib.genAttrs [
              "coreutils_bin"
              "dynamicLinker"
              "expandResponseParams"
              "shell"
              "suffixSalt"
              "wrapperName"
            ] (_: "");
          };
        };
      };
    in
    [
      (_: { __raw = true; })
      (stage localSystem localSystem localSystem)
    ]
    ++ lib.optionals (crossSystem != localSystem) [
      (stage localSystem localSystem crossSystem)
      (stage localSystem crossSystem crossSystem)
    ];
in
import ./core/pkgs/top-level {
  inherit lib stdenvStages config;
  localSystem = { inherit system; };
  crossSystem = if crossSystem == null then { inherit system; } else crossSystem;
  overlays = [ (import ./packages.nix) ] ++ overlays;
}
