# The Rust workspace for one of the platforms (platforms.nix): the binaries that ship, each by a cargo call of its own, and
# what the checks need.
#
# cargo cross-compiles with an ordinary rustc of this machine that carries the standard library of both, so that build scripts
# and procedural macros stay native. With the static stdenv itself every call of cc would be static, theirs too, and they
# would not link.
{
  crane,
  pkgs,
  lib,
  project,
}:
target:
let
  inherit (target) stdenv;
  host = stdenv.hostPlatform;
  triple = host.rust.rustcTarget;
  TRIPLE = lib.toUpper (lib.replaceStrings [ "-" ] [ "_" ] triple);
  cc = "${stdenv.cc}/bin/${stdenv.cc.targetPrefix}cc";

  craneLib = (crane.mkLib pkgs).overrideScope (
    _: _: { inherit (target.buildPackages) rustc clippy; }
  );

  args = {
    pname = "lifeline-workspace";
    inherit (project) version;
    src = project.source;
    strictDeps = true;
    env = {
      CARGO_BUILD_TARGET = triple;
      "CARGO_TARGET_${TRIPLE}_LINKER" = cc;
      # ring's and mimalloc's few C and assembler files
      TARGET_CC = cc;
      TARGET_AR = "${stdenv.cc.bintools}/bin/${stdenv.cc.targetPrefix}ar";
    }
    // lib.optionalAttrs host.isMusl { "CARGO_TARGET_${TRIPLE}_RUSTFLAGS" = "-C target-feature=+crt-static"; };
  };

  # For the checks, which test the workspace as a developer does: in the profile `release`, which links quickly.
  shared = args // {
    cargoArtifacts = craneLib.buildDepsOnly (
      args
      // {
        cargoCheckExtraArgs = "--workspace --all-targets";
        cargoBuildExtraArgs = "--workspace";
        cargoTestExtraArgs = "--workspace --no-run";
      }
    );
  };

  # What ships: each binary alone, so that no other switches features on in it. Each says which crates it is made of, in a
  # section that scanners read (cargo auditable).
  selected = program: "-p ${program.package} --features ${lib.concatStringsSep "," program.features}";
  dist = args // {
    env = args.env // {
      CARGO_PROFILE = "dist";
    };
    doCheck = false;
  };
  dependencies = craneLib.buildDepsOnly (
    dist
    // {
      pname = "lifeline-dist";
      buildPhaseCargoCommand = lib.concatMapStrings (program: ''
        cargoWithProfile build --locked ${selected program}
      '') (lib.attrValues project.programs);
    }
  );
  build =
    name: program:
    craneLib.buildPackage (
      dist
      // {
        pname = name;
        cargoArtifacts = dependencies;
        nativeBuildInputs = [ pkgs.cargo-auditable ];
        cargoBuildCommand = "cargo auditable build --profile dist";
        cargoExtraArgs = "--locked ${selected program}";
        # It must start; where this machine cannot run it, it must at least be a program for the other.
        postInstall =
          if stdenv.buildPlatform.canExecute host then
            ''
              $out/bin/${name} --version | grep -F "${project.version}"
            ''
            + lib.optionalString (name == "lifeline") "bash ${./manual} $out/bin/lifeline $out\n"
          else
            "bash ${./elf} $out/bin/${name} ${host.linuxArch}";
        meta = {
          inherit (program) description;
          mainProgram = name;
          homepage = project.repository;
          license = with lib.licenses; [
            mit
            asl20
          ];
        };
      }
      # A static program that names a store path would drag it into every image.
      // lib.optionalAttrs host.isMusl { allowedReferences = [ ]; }
    );
in
rec {
  inherit
    craneLib
    target
    shared
    selected
    ;
  programs = lib.mapAttrs build project.programs;
  # The same once more, from nothing but the dependencies: checks.nix compares.
  programsAgain = lib.mapAttrs (
    _: program: program.overrideAttrs { again = "the second time"; }
  ) programs;
}
