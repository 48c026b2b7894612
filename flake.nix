{
  description = "Lifeline: messages from SNS to SQS and their handlers, on Kubernetes, with health that means something";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    crane.url = "github:ipetkov/crane";
  };

  outputs =
    {
      self,
      nixpkgs,
      crane,
    }:
    let
      inherit (nixpkgs) lib;

      linux = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      # A Mac runs `lifeline` itself and cross-builds the Linux images; checks and virtual machines are for Linux.
      everywhere = linux ++ [ "aarch64-darwin" ];
      each =
        systems: choose:
        lib.genAttrs systems (
          system:
          choose (
            import ./nix {
              inherit self crane nixpkgs;
              pkgs = nixpkgs.legacyPackages.${system};
            }
          )
        );
    in
    {
      packages = each everywhere (project: project.packages);
      apps = each everywhere (project: project.apps);
      checks = each linux (project: project.checks);
      devShells = each everywhere (project: {
        default = project.shell;
      });
      formatter = each everywhere (project: project.formatter);

      # The two services as systemd units, for a NixOS without Kubernetes.
      nixosModules = rec {
        lifeline = {
          # Imported twice, it is one module, and errors name its file.
          key = "lifeline-rs/lifeline";
          _file = toString ./nixos-vm/lifeline.nix;
          imports = [ (import ./nixos-vm/lifeline.nix { inherit self; }) ];
        };
        default = lifeline;
      };

      # `nix run .#vm` starts the first kind, `nix run .#vm-minikube` the second.
      nixosConfigurations = lib.concatMapAttrs (
        system: machines: lib.mapAttrs' (name: lib.nameValuePair "${name}-${system}") machines
      ) (each linux (project: project.machines));
    };
}
