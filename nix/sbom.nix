# A bill of materials of each image, in CycloneDX's JSON: the crates that cargo resolves from Cargo.lock for the
# images' platform, with licences and checksums, and what else is in the image. Pure: no clock, no random serial.
{
  pkgs,
  lib,
  project,
  rust,
}:
let
  static = pkgs.pkgsStatic.stdenv;
  # Linked into the program, or beside it in the image.
  others = map (package: {
    name = lib.getName package;
    version = lib.getVersion package;
  }) ([ pkgs.cacert ] ++ lib.filter lib.isDerivation [ static.cc.libc ]);
  checksums = lib.listToAttrs (
    map (package: lib.nameValuePair "${package.name}@${package.version}" package.checksum) (
      lib.filter (package: package ? checksum) (lib.importTOML ../Cargo.lock).package
    )
  );
in
rust.craneLib.mkCargoDerivation (
  rust.shared
  // {
    pname = "lifeline-sbom";
    cargoArtifacts = null;
    doInstallCargoArtifacts = false;
    nativeBuildInputs = [ pkgs.jq ];
    others = builtins.toJSON others;
    checksums = builtins.toJSON checksums;
    passAsFile = [
      "others"
      "checksums"
    ];
    buildPhaseCargoCommand = ''
      cargo metadata --offline --locked --format-version 1 ${rust.features} \
        --filter-platform ${static.hostPlatform.rust.rustcTarget} >metadata.json
      mkdir -p $out
      for program in ${toString (lib.attrNames project.programs)}; do
        jq --arg program $program --slurpfile others "$othersPath" --slurpfile checksums "$checksumsPath" \
          -f ${./sbom.jq} metadata.json >$out/$program.cdx.json
      done
    '';
    installPhaseCommand = "";
    meta = {
      description = "CycloneDX bills of materials, one for each image";
    };
  }
)
