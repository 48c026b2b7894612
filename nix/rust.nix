# The Rust workspace: every dependency is compiled once (`dependencies`) and shared by the programs and the checks.
#
# The programs are static musl binaries. cargo cross-compiles to musl with an ordinary, glibc-hosted rustc that
# carries both standard libraries, so that build scripts and procedural macros stay native: with the static stdenv
# itself every call of cc would be static, theirs too, and they would not link.
{
  crane,
  pkgs,
  lib,
  project,
}:
let
  static = pkgs.pkgsStatic.stdenv;
  triple = static.hostPlatform.rust.rustcTarget;
  cc = "${static.cc}/bin/${static.cc.targetPrefix}cc";

  craneLib = (crane.mkLib pkgs).overrideScope (
    _: _: { inherit (pkgs.pkgsStatic.buildPackages) rustc clippy; }
  );

  args = {
    pname = "lifeline-workspace";
    inherit (project) version;
    src = project.source;
    strictDeps = true;
    env = {
      CARGO_BUILD_TARGET = triple;
      "CARGO_TARGET_${lib.toUpper (lib.replaceStrings [ "-" ] [ "_" ] triple)}_LINKER" = cc;
      # ring's few C and assembler files
      TARGET_CC = cc;
      TARGET_AR = "${static.cc.bintools}/bin/${static.cc.targetPrefix}ar";
    };
  };
  # Only the shipped crates are named, so that what the tests need does not switch features on in what ships.
  shipped = lib.concatMapStringsSep " " (name: "-p ${name}") (lib.attrNames project.programs) + " ${features}";
  # Spans cost an image less than half a MiB, and nothing more while no collector is named.
  features = "--features otlp";
  # Checked and tested is everything, whatever the workspace's default members are.
  dependencies = craneLib.buildDepsOnly (
    args
    // {
      cargoCheckExtraArgs = "--workspace --all-targets";
      cargoBuildExtraArgs = shipped;
      cargoTestExtraArgs = "--workspace --no-run";
    }
  );
  shared = args // {
    cargoArtifacts = dependencies;
  };

  # Tests have a check of their own (checks.nix).
  workspace = craneLib.buildPackage (
    shared
    // {
      cargoExtraArgs = "--locked ${shipped}";
      doCheck = false;
      # A static program that names a store path would drag it into every image.
      allowedReferences = [ ];
    }
  );

  # One program of a built workspace; it is asked for its version, since a binary that does not start is no build.
  program =
    workspace: name: description:
    pkgs.runCommand "${name}-${project.version}"
      {
        pname = name;
        inherit (project) version;
        meta = {
          inherit description;
          mainProgram = name;
          homepage = project.repository;
          license = with lib.licenses; [
            mit
            asl20
          ];
          platforms = lib.platforms.linux;
        };
      }
      ''
        install -D ${workspace}/bin/${name} $out/bin/${name}
        $out/bin/${name} --version | grep -F "${project.version}"
      '';
in
{
  inherit craneLib shared features;
  programs = lib.mapAttrs (program workspace) project.programs;
  # The same once more, from nothing but the dependencies: checks.nix compares.
  programsAgain = lib.mapAttrs (program (
    workspace.overrideAttrs { again = "the second time"; }
  )) project.programs;
}
