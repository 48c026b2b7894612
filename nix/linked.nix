# What is linked into each program: its crates with their features, a line each, as cargo resolves them for it alone.
{
  lib,
  pkgs,
  project,
  platforms,
  rustFor,
}:
let
  rust = rustFor platforms.images.${platforms.default};
in
rust.craneLib.mkCargoDerivation (
  rust.shared
  // {
    pname = "lifeline-linked";
    cargoArtifacts = null;
    doInstallCargoArtifacts = false;
    buildPhaseCargoCommand = ''
      mkdir -p $out
      ${lib.concatStrings (
        lib.mapAttrsToList (name: program: ''
          bash ${./linked} "${rust.selected program}" ${rust.target.stdenv.hostPlatform.rust.rustcTarget} >$out/${name}
        '') project.programs
      )}
    '';
    installPhaseCommand = "";
    meta = {
      description = "The crates and features that are linked into each program";
    };
  }
)
