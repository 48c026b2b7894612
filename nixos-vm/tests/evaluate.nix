# Our modules under the real module system, over the options that they use (options.nix).
#   lib       nixpkgs' lib
#   programs  a folder with bin/producer and the others, for the units that are rendered
#   settings  what a user would write
{
  lib,
  programs ? "/nix/store/00000000000000000000000000000000-programs",
  settings ? { },
}:
let
  package = name: {
    type = "derivation";
    inherit name;
    outPath = programs;
    meta.mainProgram = name;
  };
  pkgs = {
    inherit lib;
    stdenv.hostPlatform.system = "x86_64-linux";
    runtimeShell = "/bin/bash";
  }
  // lib.genAttrs [
    "coreutils"
    "curl"
    "gnugrep"
    "gnused"
    "jq"
    "kubectl"
    "minikube"
  ] package;
  self.packages.x86_64-linux = lib.genAttrs [ "producer" "consumer" "lifeline" ] package;

  lifeline = {
    steps = "/nix/store/00000000000000000000000000000000-steps";
    archives = [ (package "producer.tar") ];
    commands = [ (package "deploy") ];
  };
  # The module as the flake exports it.
  module =
    ((import ../../flake.nix).outputs {
      inherit self;
      nixpkgs = { inherit lib; };
      crane = throw "no module needs crane";
    }).nixosModules;
  evaluation =
    modules:
    lib.evalModules {
      modules = [ ./options.nix ] ++ modules;
      specialArgs = { inherit pkgs lifeline; };
    };
  # As NixOS does: what an assertion refuses is not built.
  evaluate =
    modules:
    let
      inherit (evaluation modules) config;
      failed = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
    in
    if failed == [ ] then config else throw (lib.concatStrings failed);
  k3s.services.k3s.package = package "k3s" // {
    airgap-images = package "airgap.tar";
  };

  # As systemd reads it: a list is a setting that is repeated.
  text =
    value:
    if value == true then
      "true"
    else if value == false then
      "false"
    else
      toString value;
  lines = lib.concatMapAttrs (
    key: value: { ${key} = map (one: "${key}=${text one}") (lib.toList value); }
  );
  section =
    name: settings:
    "[${name}]\n${lib.concatStringsSep "\n" (lib.concatLists (lib.attrValues (lines settings)))}\n";
  render =
    _: service:
    section "Unit" (
      {
        Description = service.description;
      }
      // lib.filterAttrs (_: names: names != "") {
        Documentation = toString service.documentation;
        Wants = toString service.wants;
        Requires = toString service.requires;
        After = toString service.after;
      }
      # An option without a default.
      // (
        let
          limit = builtins.tryEval service.startLimitIntervalSec;
        in
        lib.optionalAttrs limit.success { StartLimitIntervalSec = limit.value; }
      )
      // service.unitConfig
    )
    + section "Service" (
      {
        # modules/system/boot/systemd.nix quotes it as JSON does.
        Environment = lib.mapAttrsToList (name: value: builtins.toJSON "${name}=${value}") service.environment;
      }
      // service.serviceConfig
    )
    + section "Install" { WantedBy = toString service.wantedBy; };
  units = config: lib.mapAttrs render config.systemd.services;

  # What a machine hands to systemd and to the program that runs it.
  machine = config: {
    units = units config;
    mounts = lib.mapAttrs (_: mount: mount.options) config.virtualisation.fileSystems;
    runner = {
      inherit (config.virtualisation)
        cores
        diskImage
        diskSize
        graphics
        memorySize
        ;
    };
    network = {
      inherit (config.networking) hostName;
      firewall = config.networking.firewall.enable;
    };
    k3s = lib.optionalAttrs config.services.k3s.enable {
      inherit (config.services.k3s) disable;
      images = map (image: image.name) config.services.k3s.images;
    };
    console = config.services.getty.autologinUser;
    docker = config.virtualisation.docker.enable;
    programs = map (program: program.name) config.environment.systemPackages;
    variables = config.environment.variables;
  };
in
{
  module = units (evaluate [
    module.default
    settings
  ]);
  # As by two other modules, each of which needs it.
  twice = units (evaluate [
    module.default
    module.lifeline
    { imports = [ module.default ]; }
    settings
  ]);
  # What the manual would say of each option.
  options = map (option: {
    inherit (option) name;
    described = option ? description;
    typed = option ? type;
    files = option.declarations;
  }) (
    lib.filter (option: lib.hasPrefix "services.lifeline" option.name && option.visible && !option.internal) (
      lib.optionAttrSetToDocList (evaluation [ module.default ]).options
    )
  );
  k3s =
    let
      config = evaluate [
        ../k3s.nix
        k3s
      ];
    in
    {
      machine = machine config;
      inherit (config.programs.bash) loginShellInit;
    };
  minikube =
    let
      config = evaluate [ ../minikube.nix ];
    in
    {
      machine = machine config;
      inherit (config.users) motd;
    };
  services =
    let
      test = import ../services.nix { module = module.default; };
    in
    {
      script = test.testScript;
      machine = machine (evaluate [
        test.nodes.machine
        { networking.hostName = lib.mkDefault "machine"; }
      ]);
    };
  test =
    let
      test = import ../test.nix { inherit lib lifeline; };
    in
    {
      script = test.testScript;
      machine = machine (evaluate [
        test.nodes.machine
        k3s
        # The test driver names its machines.
        { networking.hostName = lib.mkDefault "machine"; }
      ]);
    };
}
