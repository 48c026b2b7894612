# What `nix build .#NAME` knows. An image of the other platform has that in its name: `producer-image-aarch64-linux`.
{
  lib,
  platforms,
  rust,
  images,
  imagesBySystem,
  linked,
  sbom,
  pkgs,
}:
let
  named =
    suffix: images:
    lib.concatMapAttrs (name: stream: {
      "${name}${suffix}" = stream;
      "${name}${suffix}-archive" = images.archives.${name};
    }) (images.plain // images.debug);
  others = lib.concatMapAttrs (system: named "-${system}") (
    removeAttrs imagesBySystem [ platforms.default ]
  );
in
# A Mac runs `lifeline` itself; the services there are in the images.
(if pkgs.stdenv.hostPlatform.isLinux then rust.programs else { inherit (rust.programs) lifeline; })
// named "" images
// others
// {
  default = rust.programs.lifeline;
  inherit linked sbom;
}
