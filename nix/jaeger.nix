# Jaeger from its release archives, or null on systems without one. Releases do not list hashes, so
# each system has the newest version whose hash is known.
{
  lib,
  stdenv,
  stdenvNoCC,
  fetchurl,
}:
let
  releases = {
    x86_64-linux = {
      version = "2.20.0";
      name = "linux-amd64";
      hash = "sha256-yWc2i6Cb41YInvfoqrKnbRcNwAf/bM95JcgWft4pANc=";
    };
    aarch64-linux = {
      version = "2.18.0";
      name = "linux-arm64";
      hash = "sha256-pMJF4ekozhbomumVzs9s2nSNJKj/9ufKhHWFUlY6BOU=";
    };
    aarch64-darwin = {
      version = "2.20.0";
      name = "darwin-arm64";
      hash = "sha256-stIQUbJ/BlNcKI3WPhWkLVquZT0BE2lQFNfmtQJzbl0=";
    };
  };
  inherit (stdenv.hostPlatform) system;
  inherit (releases.${system}) version name hash;
in
if !releases ? ${system} then
  null
else
  stdenvNoCC.mkDerivation {
    pname = "jaeger";
    inherit version;
    src = fetchurl {
      url = "https://github.com/jaegertracing/jaeger/releases/download/v${version}/jaeger-${version}-${name}.tar.gz";
      inherit hash;
    };
    installPhase = ''
      runHook preInstall
      install -D --target-directory $out/bin jaeger
      runHook postInstall
    '';
    meta = {
      description = "Distributed tracing backend";
      homepage = "https://www.jaegertracing.io";
      license = lib.licenses.asl20;
      mainProgram = "jaeger";
      platforms = lib.attrNames releases;
    };
  }
