# `nix flake check`.
{
  nixpkgs,
  self,
  pkgs,
  lib,
  project,
  rust,
  imagesFor,
  images,
  linked,
  sbom,
  vmTests,
}:
let
  inherit (rust) craneLib shared;

  # A check that is a few lines of shell over files.
  script =
    name: programs: text:
    pkgs.runCommand "lifeline-${name}" { nativeBuildInputs = programs; } ''
      ${text}
      touch $out
    '';

  rules = lib.mapAttrs' (
    key: archive:
    lib.nameValuePair "${key}-rules" (
      script "${key}-rules" [ pkgs.jq ] "bash ${project.scripts}/nix/tests/image-rules ${archive} ${project.version}"
    )
  ) (lib.filterAttrs (key: _: !lib.hasSuffix "-debug" key) images.archives);

  # An image whose program was built a second time, in another derivation.
  reproducible = lib.mapAttrs' (
    program: _:
    let
      once = images.content images.plain."${program}-image";
      again = images.content (
        (imagesFor (rust // { programs = rust.programsAgain; })).plain."${program}-image"
      );
    in
    lib.nameValuePair "${program}-image-reproducible" (
      script "${program}-image-reproducible" [ pkgs.diffutils ] ''
        cmp ${lib.getExe rust.programs.${program}} ${lib.getExe rust.programsAgain.${program}}
        cmp ${once} ${again}
      ''
    )
  ) project.programs;

  # The services on a NixOS without Kubernetes, as systemd will see them.
  units =
    (nixpkgs.lib.nixosSystem {
      modules = [
        self.nixosModules.lifeline
        {
          nixpkgs.pkgs = pkgs;
          services.lifeline = {
            producer.enable = true;
            consumer.enable = true;
            aws.enable = true;
          };
        }
      ];
    }).config.systemd.units;
in
rules
// reproducible
# With KVM, or ten times slower.
// vmTests
// {
  clippy = craneLib.cargoClippy (
    shared // { cargoClippyExtraArgs = "--workspace --all-targets -- --deny warnings"; }
  );
  fmt = craneLib.cargoFmt {
    inherit (shared) pname version src;
    cargoExtraArgs = "--all";
  };
  nextest = craneLib.cargoNextest (
    shared
    // {
      src = project.sourceAndPages;
      cargoNextestExtraArgs = "--workspace";
      cargoNextestPartitionsExtraArgs = "--no-tests=pass";
    }
  );
  doctest = craneLib.cargoDocTest (shared // { cargoTestExtraArgs = "--workspace"; });
  doc = craneLib.cargoDoc (
    shared
    // {
      cargoDocExtraArgs = "--workspace --no-deps";
      env = shared.env // {
        RUSTDOCFLAGS = "--deny warnings";
      };
    }
  );
  deny = craneLib.cargoDeny { inherit (shared) pname version src; };

  # Every overlay builds, and what it names of ours is the release that the workspace says it is.
  overlays = script "overlays" [ pkgs.kubectl ] ''
    for overlay in ${project.kustomize}/overlays/*/; do
      kubectl kustomize $overlay >rendered.yaml
      grep -q '^kind: Deployment$' rendered.yaml
      grep -oE 'image: "?localhost/[^" ]+' rendered.yaml | grep -v ':${project.version}$' && exit 1
      echo "$overlay builds"
    done
  '';

  shellcheck = script "shellcheck" [ pkgs.shellcheck ] ''
    cd ${project.scripts}
    grep -rlE '^#!.*bash|^# shellcheck shell=bash' . | xargs shellcheck -x
  '';

  # Against stand-ins of minikube, kubectl and docker, which lie as minikube does.
  apps = script "apps" [ pkgs.jq ] "bash ${project.scripts}/nix/tests/run apps";

  # A program names every crate that is linked into it (cargo auditable). It also names some that are not: cargo auditable asks
  # `cargo metadata`, which knows the features of the whole workspace alone, and counts procedural macros.
  audit =
    script "audit"
      [
        pkgs.rust-audit-info
        pkgs.jq
      ]
      (
        lib.concatMapStrings (name: ''
          rust-audit-info ${lib.getExe rust.programs.${name}} |
            jq -r '.packages[] | select(.kind != "build") | "\(.name) \(.version)"' | LC_ALL=C sort -u >${name}
          cut -d' ' -f1,2 ${linked}/${name} | LC_ALL=C sort -u >wanted
          LC_ALL=C comm -23 wanted ${name} >missing
          if [ -s missing ]; then echo "${name} does not name:" && cat missing && exit 1; fi
        '') (lib.attrNames project.programs)
      );

  features = script "features" [ ] "bash ${./tests/features} ${linked}";

  # zizmor asks no network.
  workflows =
    script "workflows"
      [
        pkgs.actionlint
        pkgs.shellcheck
        pkgs.zizmor
      ]
      ''
        actionlint ${project.scripts}/.github/workflows/*.yml
        zizmor --offline --no-progress ${project.scripts}/.github
      '';

  sbom = script "sbom" [ pkgs.jq ] ''
    for file in ${sbom}/*.cdx.json; do
      jq -e '.bomFormat == "CycloneDX" and (.components | length > 20)
        and ([.components[] | select(.type == "library" and (.purl | startswith("pkg:cargo/"))
              and (.hashes == null) and (.version != "${project.version}"))] == [])' $file >/dev/null
    done
  '';

  module = script "module" [ ] (
    lib.concatMapStrings
      (name: ''
        grep -q '^WatchdogSec=' ${units."lifeline-${name}.service".unit}/lifeline-${name}.service
      '')
      [
        "producer"
        "consumer"
      ]
  );

  # Our modules under the module system of this nixpkgs, over the options that they set.
  modules = script "modules" [
    pkgs.nix
    pkgs.jq
    pkgs.python3
  ] "bash ${project.scripts}/nixos-vm/tests/run ${nixpkgs}/lib";
}
