{
  description = "Enough of nixpkgs to evaluate MiniApp's flake where the real one can't be had";
  outputs = _: { lib = (import ./. { system = "x86_64-linux"; }).lib; };
}
