# The machine of `nix run .#vm-minikube`: rootful Docker, minikube and kubectl, for the LocalStack deployment.
# It needs the network, for minikube's own images and LocalStack's.
{ pkgs, lifeline, ... }:
{
  imports = [ ./machine.nix ];
  networking.hostName = "lifeline-minikube";

  # minikube refuses Docker as root and, on NixOS, rootless Docker does not start its node.
  virtualisation.docker.enable = true;
  users.users.lifeline = {
    isNormalUser = true;
    extraGroups = [
      "docker"
      "wheel"
    ];
  };
  security.sudo.wheelNeedsPassword = false;
  services.getty.autologinUser = pkgs.lib.mkForce "lifeline";

  environment.systemPackages = [
    pkgs.minikube
    pkgs.kubectl
  ]
  ++ lifeline.commands;
  environment.variables.MINIKUBE_DRIVER = "docker";

  # minikube asks for 2 CPUs, 2 GB and 20 GB of disk, and wants room for the machine around it. The disk is a file
  # that the runner deletes when the machine ends.
  virtualisation = {
    memorySize = 6144;
    cores = 4;
    diskSize = 30 * 1024;
  };

  users.motd = ''

    Docker, minikube and kubectl are installed; start with

      deploy                     starts minikube, loads the images, applies kustomize/overlays/minikube
      minikube start             or step by step: this,
      load-images                this,
      kubectl apply -k ${lifeline.steps}/kustomize/overlays/minikube

    All of it pulls images from the network. `sudo poweroff` (or Ctrl-a x) ends the machine; nothing is kept.

  '';
}
