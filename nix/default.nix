# The parts of the project for one system. Each file takes what it needs from the others by name, so that this
# list is also the order in which to read them.
{
  self,
  crane,
  nixpkgs,
  pkgs,
}:
let
  inherit (pkgs) lib;
  part = file: import file (builtins.intersectAttrs (lib.functionArgs (import file)) parts);
  parts = {
    inherit
      self
      crane
      nixpkgs
      pkgs
      lib
      ;
    project = part ./project.nix;
    rust = part ./rust.nix;
    images = part ./images.nix;
    sbom = part ./sbom.nix;
    machines = part ./machines.nix;
    packages = part ./packages.nix;
    apps = part ./apps.nix;
    checks = part ./checks.nix;
    shell = part ./shell.nix;
    formatter = pkgs.nixfmt-tree;
  };
in
parts
