# The commands that `nix run .#NAME` starts. The text of each is a script under apps/ that runs, and is tested, without
# Nix too: what it needs from Nix comes in by environment, and its programs by PATH.
{
  pkgs,
  lib,
  project,
  rust,
  images,
  machines,
}:
let
  command =
    name:
    {
      description,
      programs ? [ ],
      variables ? { },
      script ? name,
    }:
    pkgs.writeShellApplication {
      inherit name;
      runtimeInputs = programs ++ [
        pkgs.coreutils
        pkgs.gnugrep
        pkgs.gnused
      ];
      runtimeEnv = variables;
      text = ''exec ${pkgs.runtimeShell} ${./apps}/${script}.sh "$@"'';
      meta = { inherit description; };
    };

  # docker comes from the machine: its daemon does too.
  cluster = {
    programs = [
      pkgs.minikube
      pkgs.kubectl
      pkgs.jq
    ];
    variables = {
      LIFELINE_IMAGES = "${images.bundle}";
      LIFELINE_KUSTOMIZE = "${project.kustomize}";
    };
  };

  machine = name: {
    script = "vm";
    variables = {
      LIFELINE_VM = lib.getExe machines.${name}.config.system.build.vm;
      LIFELINE_VM_MEMORY = toString machines.${name}.config.virtualisation.memorySize;
      LIFELINE_VM_CORES = toString machines.${name}.config.virtualisation.cores;
      LIFELINE_VM_KIND = name;
    };
  };
in
lib.mapAttrs command ({
  default = {
    description = "The whole pipeline on this machine, with an embedded SNS and SQS";
    programs = [ rust.programs.lifeline ];
    script = "up";
  };
  load-images = cluster // {
    description = "Load the images into a running minikube, and make sure that they are there";
  };
  deploy = cluster // {
    description = "Start minikube if need be, load the images, apply an overlay and wait for its pods";
  };
  teardown = cluster // {
    description = "Take away what deploy made";
  };
  logs = cluster // {
    description = "Follow the logs of the producer and the consumer on minikube";
  };
}
# A virtual machine is Linux's, and so is what starts it.
// lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux {
  vm = machine "k3s" // {
    description = "A virtual machine with k3s and the pipeline in it; needs no network and leaves nothing behind";
  };
  vm-minikube = machine "minikube" // {
    description = "A virtual machine with Docker and minikube, for the LocalStack deployment; needs the network";
  };
})
