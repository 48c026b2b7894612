# The platforms that binaries are built for, each by the package set whose stdenv links them.
#   native  this machine: static musl on Linux, so that it is the image's binary too; macOS' own on a Mac
#   images  Linux, by Nix's name of the system: static musl, cross-compiled where this machine is another
{ pkgs, lib }:
let
  here = pkgs.stdenv.hostPlatform;
  images = {
    x86_64-linux = pkgs.pkgsCross.musl64;
    aarch64-linux = pkgs.pkgsCross.aarch64-multiplatform-musl;
  }
  // lib.optionalAttrs here.isLinux { ${here.system} = pkgs.pkgsStatic; };
in
{
  inherit images;
  native = if here.isLinux then pkgs.pkgsStatic else pkgs;
  # The images that `nix build .#producer-image` makes: on a Mac, those of its virtual machine.
  default = if here.isLinux then here.system else "${here.parsed.cpu.name}-linux";
}
