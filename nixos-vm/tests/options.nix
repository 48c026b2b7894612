# The options of NixOS that our modules set, declared as nixpkgs declares them, so that the module system can judge
# our modules where there is no nixpkgs. Each names the file of nixpkgs that was read for it (below nixos/).
{ lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: mkOption { inherit type; };
  default =
    type: value:
    mkOption {
      inherit type;
      default = value;
    };

  # lib/systemd-unit-options.nix, unitOption: a value, or a list where the setting may be repeated.
  atom = types.nullOr (
    types.oneOf [
      types.bool
      types.int
      types.float
      types.str
      types.path
      types.package
    ]
  );
  unitOption = types.either atom (types.listOf atom);
  unitName = types.strMatching "[a-zA-Z0-9@%:_.\\-]+[.](service|socket|device|mount|automount|swap|target|path|timer|scope|slice)";

  # lib/systemd-unit-options.nix: commonUnitOptions, serviceOptions
  service = types.submodule {
    options = {
      description = default types.singleLineStr "";
      documentation = default (types.listOf types.str) [ ];
      wants = default (types.listOf unitName) [ ];
      requires = default (types.listOf unitName) [ ];
      after = default (types.listOf unitName) [ ];
      wantedBy = default (types.listOf unitName) [ ];
      startLimitIntervalSec = option types.int;
      unitConfig = default (types.attrsOf unitOption) { };
      environment = default (types.attrsOf (
        types.nullOr (
          types.oneOf [
            types.str
            types.path
            types.package
          ]
        )
      )) { };
      path = default (types.listOf (
        types.oneOf [
          types.package
          types.str
        ]
      )) [ ];
      serviceConfig = default (types.addCheck (types.attrsOf unitOption) (
        config:
        lib.elem (config.Type or "simple") [
          "exec"
          "simple"
          "forking"
          "oneshot"
          "dbus"
          "notify"
          "notify-reload"
          "idle"
        ]
        && lib.elem (config.Restart or "no") [
          "no"
          "on-success"
          "on-failure"
          "on-abnormal"
          "on-abort"
          "on-watchdog"
          "always"
        ]
      )) { };
    };
  };
in
{
  options = {
    # modules/misc/assertions.nix
    assertions = default (types.listOf types.unspecified) [ ];
    # modules/system/boot/systemd.nix
    systemd.services = default (types.attrsOf service) { };
    # modules/misc/version.nix, modules/misc/documentation.nix, modules/misc/nixpkgs.nix
    system.stateVersion = option types.str;
    documentation.enable = default types.bool true;
    # modules/tasks/network-interfaces.nix, modules/services/networking/firewall.nix
    networking.hostName = option types.str;
    networking.firewall.enable = default types.bool true;
    # modules/services/ttys/getty.nix
    services.getty.autologinUser = default (types.nullOr types.str) null;
    # modules/config/system-path.nix, modules/config/shells-environment.nix
    environment.systemPackages = default (types.listOf types.package) [ ];
    environment.variables = default (types.attrsOf (
      types.oneOf [
        (types.listOf types.str)
        types.int
        types.str
        types.path
      ]
    )) { };
    # modules/programs/bash/bash.nix
    programs.bash.loginShellInit = default types.lines "";
    # modules/config/users-groups.nix, modules/security/pam.nix, modules/security/sudo.nix
    users.users = default (types.attrsOf (
      types.submodule {
        options = {
          isNormalUser = default types.bool false;
          extraGroups = default (types.listOf types.str) [ ];
        };
      }
    )) { };
    users.motd = default (types.nullOr types.lines) null;
    security.sudo.wheelNeedsPassword = default types.bool true;
    # modules/services/cluster/rancher/default.nix
    services.k3s = {
      enable = default types.bool false;
      package = option types.package;
      images = default (types.listOf types.package) [ ];
      disable = default (types.listOf types.str) [ ];
    };
    virtualisation = {
      # modules/virtualisation/docker.nix
      docker.enable = default types.bool false;
      # modules/virtualisation/qemu-vm.nix, modules/virtualisation/disk-size-option.nix
      graphics = default types.bool true;
      memorySize = default types.ints.positive 1024;
      cores = default types.ints.positive 1;
      diskImage = default (types.nullOr types.str) "./machine.qcow2";
      diskSize = default (types.either (types.enum [ "auto" ]) types.ints.positive) 1024;
      fileSystems = default (types.attrsOf (
        types.submodule {
          options.options = default (types.nonEmptyListOf types.nonEmptyStr) [ "defaults" ];
        }
      )) { };
    };
  };
}
