# The virtual machines of `nix run .#vm` and `.#vm-minikube`, the test that runs the end-to-end steps in the first one, and
# the test of the NixOS module.
{
  self,
  nixpkgs,
  pkgs,
  lib,
  project,
  images,
  commands,
}:
let
  lifeline = {
    inherit (project) steps;
    archives = lib.attrValues images.archives;
    commands = [
      commands.deploy
      commands.load-images
      commands.teardown
      commands.logs
    ];
  };
  machine =
    module:
    nixpkgs.lib.nixosSystem {
      modules = [
        "${nixpkgs}/nixos/modules/virtualisation/qemu-vm.nix"
        { nixpkgs.pkgs = pkgs; }
        module
      ];
      specialArgs = { inherit lifeline; };
    };
in
{
  machines = {
    k3s = machine ../nixos-vm/k3s.nix;
    minikube = machine ../nixos-vm/minikube.nix;
  };
  vmTests = {
    vm = pkgs.testers.runNixOSTest (import ../nixos-vm/test.nix { inherit lib lifeline; });
    services = pkgs.testers.runNixOSTest (
      import ../nixos-vm/services.nix { module = self.nixosModules.default; }
    );
  };
}
