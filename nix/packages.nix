# What `nix build .#NAME` knows.
{
  rust,
  images,
  sbom,
  lib,
}:
rust.programs
// images.plain
// images.debug
// lib.mapAttrs' (name: lib.nameValuePair "${name}-archive") images.archives
// {
  default = rust.programs.lifeline;
  inherit sbom;
}
