# A bill of materials of each image, in CycloneDX's JSON: the crates that are linked into its program, with licences and
# checksums, and what else is in the image. Pure: no clock, no random serial.
{
  pkgs,
  lib,
  project,
  platforms,
  rustFor,
  linked,
}:
let
  rust = rustFor platforms.images.${platforms.default};
  # Linked into the program, or beside it in the image.
  others = map (package: {
    name = lib.getName package;
    version = lib.getVersion package;
  }) ([ pkgs.cacert ] ++ lib.filter lib.isDerivation [ rust.target.stdenv.cc.libc ]);
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
      cargo metadata --offline --locked --format-version 1 --all-features >metadata.json
      mkdir -p $out
      ${lib.concatStrings (
        lib.mapAttrsToList (name: program: ''
          jq --arg program ${name} --arg package ${program.package} --rawfile linked ${linked}/${name} \
            --slurpfile others "$othersPath" --slurpfile checksums "$checksumsPath" \
            -f ${./sbom.jq} metadata.json >$out/${name}.cdx.json
        '') project.programs
      )}
    '';
    installPhaseCommand = "";
    meta = {
      description = "CycloneDX bills of materials, one for each image";
    };
  }
)
