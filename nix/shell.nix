# The development shell of every system: the Rust of the build, the tools of the checks, and those of the deployment.
{
  crane,
  pkgs,
  lib,
}:
(crane.mkLib pkgs).devShell {
  packages = [
    pkgs.cargo-deny
    pkgs.cargo-nextest
    pkgs.rust-analyzer
    pkgs.nixfmt-tree
    pkgs.shellcheck
    pkgs.yamllint
    pkgs.awscli2
    pkgs.curl
    pkgs.jq
    pkgs.kubectl
    pkgs.minikube
  ]
  ++ lib.optionals pkgs.stdenv.hostPlatform.isLinux [ pkgs.skopeo ];
}
