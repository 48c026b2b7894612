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
    platforms = part ./platforms.nix;
    rustFor = part ./rust.nix;
    rust = parts.rustFor parts.platforms.native;
    imagesFor = part ./images.nix;
    # By system; and those of this machine, or of its virtual machine on a Mac.
    imagesBySystem = lib.mapAttrs (_: target: parts.imagesFor (parts.rustFor target)) parts.platforms.images;
    images = parts.imagesBySystem.${parts.platforms.default};
    linked = part ./linked.nix;
    sbom = part ./sbom.nix;
    packages = part ./packages.nix;
    commands = part ./apps.nix;
    # The machines hold some of the commands, and some of the commands start the machines.
    inherit (part ./machines.nix) machines vmTests;
    apps = lib.mapAttrs (_: command: {
      type = "app";
      program = lib.getExe command;
      meta = { inherit (command.meta) description; };
    }) parts.commands;
    checks = part ./checks.nix;
    shell = part ./shell.nix;
    formatter = pkgs.nixfmt-tree;
  };
in
parts
