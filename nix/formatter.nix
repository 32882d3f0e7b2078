# `nix fmt`: formats Rust and Nix; with --check it only checks.
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
    # Nix sets PRJ_ROOT to the folder of the flake.
    cd "''${PRJ_ROOT:-.}"
    check=()
    if [[ ''${1:-} == --check ]]; then check=(--check); fi
    cargo fmt "''${check[@]}"
    find flake.nix nix -name '*.nix' -exec nixfmt "''${check[@]}" {} +
  '';
}
