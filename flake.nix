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

      # Images are Linux's; who works on a Mac gets the shell and the formatter, and builds on a Linux builder.
      linux = [
        "x86_64-linux"
        "aarch64-linux"
      ];
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
      packages = each linux (project: project.packages);
      apps = each linux (project: project.apps);
      checks = each linux (project: project.checks);
      devShells = each (linux ++ [ "aarch64-darwin" ]) (project: {
        default = project.shell;
      });
      formatter = each (linux ++ [ "aarch64-darwin" ]) (project: project.formatter);

      # The two services as systemd units, for a NixOS without Kubernetes.
      nixosModules = rec {
        lifeline = import ./nixos-vm/lifeline.nix { inherit self; };
        default = lifeline;
      };

      # `nix run .#vm` starts the first kind, `nix run .#vm-minikube` the second.
      nixosConfigurations = lib.concatMapAttrs (
        system: machines: lib.mapAttrs' (name: lib.nameValuePair "${name}-${system}") machines
      ) (each linux (project: project.machines));
    };
}
