# services.lifeline: the producer, the consumer and, for trying them, the embedded SNS and SQS, as systemd units on a
# NixOS without Kubernetes. The settings are the programs' own (`producer --help`), the sandbox is systemd's.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.lifeline;
  programs = self.packages.${pkgs.stdenv.hostPlatform.system};

  # The longest that a drain may take by default (SHUTDOWN_GRACE), and room for the last line.
  stop = 35;

  # No path literals: Nix would copy the file into its store, which everyone can read.
  setting = types.nullOr (
    types.oneOf [
      types.str
      types.bool
      types.int
      types.float
    ]
  );
  # As the programs read it: true, 16, 0.5. systemd takes a single % for one of its specifiers.
  text = value: escape (if lib.isString value then value else builtins.toJSON value);
  escape = lib.replaceStrings [ "%" ] [ "%%" ];
  secrets = [
    "AWS_SECRET_ACCESS_KEY"
    "AWS_SESSION_TOKEN"
  ];

  service = name: health: {
    enable = lib.mkEnableOption "Lifeline's ${name}";
    package = mkOption {
      type = types.package;
      default = programs.${name};
      defaultText = lib.literalMD "the flake's `${name}`";
      description = "The package with `bin/${name}`.";
    };
    settings = mkOption {
      type = types.submodule {
        freeformType = types.attrsOf setting;
        options.HEALTH_ADDR = mkOption {
          type = types.str;
          default = health;
          description = "Where `/health`, `/ready` and `/metrics` are served.";
        };
      };
      default = { };
      example = {
        TOPIC_NAME = "events";
        AWS_REGION = "eu-central-1";
        ACCESS_LOG = "off";
      };
      description = ''
        The settings of `${name} --help`. They are readable by everyone on this machine: credentials belong into
        {option}`services.lifeline.${name}.environmentFile`. What is null is not set.
      '';
    };
    environmentFile = mkOption {
      type = types.nullOr types.externalPath;
      default = null;
      example = "/run/secrets/aws";
      description = ''
        A file of `NAME=value` lines, read by systemd as root: the place for credentials. It is named by a string, since a path
        literal would be copied into the world-readable store, and must be there before the service starts.
      '';
    };
  };

  # What none of the three needs. `systemd-analyze security` says what each line is for.
  sandbox = {
    DynamicUser = true;
    UMask = "0077";
    ProtectSystem = "strict";
    ProtectHome = true;
    PrivateTmp = true;
    PrivateDevices = true;
    PrivateUsers = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = "invisible";
    ProcSubset = "pid";
    NoNewPrivileges = true;
    CapabilityBoundingSet = "";
    AmbientCapabilities = "";
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    RemoveIPC = true;
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    # AF_UNIX is systemd's own: readiness and the watchdog are told over it.
    RestrictAddressFamilies = [
      "AF_INET"
      "AF_INET6"
      "AF_UNIX"
    ];
    SystemCallArchitectures = "native";
    SystemCallFilter = [
      "@system-service"
      "~@privileged @resources"
    ];
  };

  embedded = cfg.aws.enable;
  endpoint = lib.optionalAttrs embedded {
    AWS_ENDPOINT_URL = "http://${cfg.aws.listen}";
    # The SDK wants to sign; the embedded endpoint looks at no signature.
    AWS_ACCESS_KEY_ID = "test";
    AWS_SECRET_ACCESS_KEY = "test";
  };

  unit = name: {
    description = "Lifeline's ${name}";
    documentation = [ (lib.importTOML ../Cargo.toml).workspace.package.repository ];
    wants = [ "network-online.target" ] ++ lib.optional embedded "lifeline-aws.service";
    after = [ "network-online.target" ] ++ lib.optional embedded "lifeline-aws.service";
    wantedBy = [ "multi-user.target" ];
    environment = lib.mapAttrs (_: text) (
      lib.filterAttrs (_: value: value != null) (endpoint // cfg.${name}.settings)
    );
    # Restarted for as long as it takes; what is wrong with AWS is no reason to give up.
    startLimitIntervalSec = 0;
    serviceConfig = sandbox // {
      ExecStart = lib.getExe' cfg.${name}.package name;
      EnvironmentFile = lib.mkIf (cfg.${name}.environmentFile != null) cfg.${name}.environmentFile;
      # It says when it is up, and then, while every part that must move does, that it lives.
      Type = "notify";
      NotifyAccess = "main";
      WatchdogSec = 30;
      # SIGABRT, the default, would write a core with messages in it.
      WatchdogSignal = "SIGKILL";
      Restart = "on-failure";
      RestartSec = 1;
      # 2 is a bad setting, which stays bad.
      RestartPreventExitStatus = 2;
      TimeoutStopSec = stop;
      StateDirectory = "lifeline-${name}";
      WorkingDirectory = "%S/lifeline-${name}";
    };
  };
in
{
  options.services.lifeline = {
    producer = service "producer" "127.0.0.1:5000";
    consumer = service "consumer" "127.0.0.1:5001";
    aws = {
      enable = lib.mkEnableOption "the embedded SNS and SQS, in memory and for trying only, and point both services at it";
      package = mkOption {
        type = types.package;
        default = programs.lifeline;
        defaultText = lib.literalMD "the flake's `lifeline`";
        description = "The package with `bin/lifeline`.";
      };
      listen = mkOption {
        type = types.strMatching "[^[:space:]\"'$\\]+:[0-9]+";
        default = "127.0.0.1:4566";
        example = "[::1]:4566";
        description = "Where it listens, as `ADDRESS:PORT`. It checks no signature: keep it on loopback.";
      };
    };
  };

  config.assertions =
    lib.concatMap
      (
        name:
        map (secret: {
          assertion = !(cfg.${name}.settings ? ${secret}) || cfg.${name}.settings.${secret} == null;
          message = ''
            services.lifeline.${name}.settings.${secret} would be readable by everyone on this machine: put it into a file, and
            name that with services.lifeline.${name}.environmentFile.
          '';
        }) secrets
      )
      [
        "producer"
        "consumer"
      ];

  config.systemd.services = lib.mkMerge [
    (lib.mkIf cfg.producer.enable { lifeline-producer = unit "producer"; })
    (lib.mkIf cfg.consumer.enable { lifeline-consumer = unit "consumer"; })
    (lib.mkIf embedded {
      lifeline-aws = {
        description = "Lifeline's embedded SNS and SQS";
        wantedBy = [ "multi-user.target" ];
        serviceConfig = sandbox // {
          ExecStart = "${lib.getExe' cfg.aws.package "lifeline"} aws --listen ${escape cfg.aws.listen}";
          # What comes after it finds it listening.
          ExecStartPost = "${lib.getExe pkgs.curl} --silent --show-error --fail --output /dev/null --retry 30 --retry-delay 1 --retry-connrefused http://${escape cfg.aws.listen}/health";
          Restart = "on-failure";
          RestartSec = 1;
        };
      };
    })
  ];
}
