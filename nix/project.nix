# What the project says of itself, read from where it says it, and the files that builds may see: a change to a
# manifest of Kubernetes or to a page of text must not build Rust.
{ self, lib }:
let
  inherit (lib) fileset;
  manifest = (lib.importTOML ../Cargo.toml).workspace.package;
  tree =
    files:
    fileset.toSource {
      root = ../.;
      fileset = fileset.unions files;
    };
  workspace = [
    ../Cargo.toml
    ../Cargo.lock
    ../crates
    (fileset.maybeMissing ../.config)
    (fileset.maybeMissing ../clippy.toml)
    (fileset.maybeMissing ../rustfmt.toml)
    (fileset.maybeMissing ../deny.toml)
  ];
in
{
  inherit (manifest) version license repository;

  # The commit, and whether something was added to it; a copy without git knows neither.
  revision = self.rev or self.dirtyRev or "unknown";

  # The programs that ship, each with an image of its own; the other crates are their libraries or their tests.
  # Spans cost an image less than half a MiB, and nothing more while no collector is named.
  programs =
    lib.mapAttrs (_: program: program // { features = [ "otlp" ]; })
      {
        producer = {
          package = "lifeline-producer";
          description = "publishes messages to an SNS topic";
        };
        consumer = {
          package = "lifeline-consumer";
          description = "receives messages from an SQS queue and hands them to a handler";
        };
        lifeline = {
          package = "lifeline-cli";
          description = "the whole pipeline on one machine, an embedded SNS and SQS, and the operator's tools";
        };
      };

  source = tree workspace;
  # With the pages that tests hold to the code.
  sourceAndPages = tree (
    workspace
    ++ [
      ../docs/architecture.md
      ../docs/settings.md
    ]
  );
  kustomize = tree [ (fileset.maybeMissing ../kustomize) ] + "/kustomize";
  # The end-to-end steps read the overlays that they apply.
  steps = tree [
    (fileset.maybeMissing ../e2e)
    (fileset.maybeMissing ../kustomize)
  ];
  scripts = tree [
    ../Cargo.toml
    ../flake.nix
    ../flake.lock
    ../nix
    ../nixos-vm
    (fileset.maybeMissing ../.github)
    (fileset.maybeMissing ../e2e)
  ];
}
