# `nix fmt`: everything that has a formatter; with --check it only looks.
{
  writeShellApplication,
  findutils,
  nixfmt,
  toolchain,
}:
writeShellApplication {
  name = "format";
  runtimeInputs = [
    findutils
    nixfmt
    toolchain
  ];
  text = ''
    # Nix says where the flake is, from wherever it was called.
    cd "''${PRJ_ROOT:-.}"
    check=()
    if [[ ''${1:-} == --check ]]; then check=(--check); fi
    cargo fmt "''${check[@]}"
    find flake.nix nix -name '*.nix' -exec nixfmt "''${check[@]}" {} +
  '';
}
