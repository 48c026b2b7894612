# The machine of `nix run .#vm`: k3s, the overlay `offline` applied to it, and the consumer's log on the console.
{
  config,
  pkgs,
  lifeline,
  ...
}:
let
  kubernetes = {
    path = [
      config.services.k3s.package
      pkgs.coreutils
      pkgs.gnugrep
      pkgs.gnused
    ];
    environment.KUBECONFIG = config.environment.variables.KUBECONFIG;
  };
  # The health port of a Deployment on a port of the guest, which the runner forwards to the host. It follows no pod
  # to its successor, so it is started again whenever one goes.
  forward =
    deployment: port:
    kubernetes
    // {
      description = "The health port of ${deployment} on port ${toString port}";
      after = [ "lifeline-deploy.service" ];
      requires = [ "lifeline-deploy.service" ];
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        ExecStart = "${config.services.k3s.package}/bin/kubectl --namespace lifeline port-forward --address 0.0.0.0 deployment/${deployment} ${toString port}:5000";
        Restart = "always";
        RestartSec = 1;
      };
      # For as long as the machine runs.
      unitConfig.StartLimitIntervalSec = 0;
    };
in
{
  imports = [
    ./machine.nix
    ./cluster.nix
  ];
  networking.hostName = "lifeline";

  # No disk: what happens in the machine is gone with it.
  virtualisation.diskImage = null;
  # Half of the memory, a tmpfs's default, is too little for k3s's images beside ours; and a tmpfs without a mode is one
  # that everyone may write to.
  virtualisation.fileSystems."/".options = [
    "size=75%"
    "mode=755"
  ];

  systemd.services.lifeline-deploy = kubernetes // {
    description = "Lifeline's pods, from the overlay offline";
    after = [ "k3s.service" ];
    requires = [ "k3s.service" ];
    wantedBy = [ "multi-user.target" ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      ExecStart = "${pkgs.runtimeShell} ${./deploy-offline.sh} ${lifeline.steps}/kustomize/overlays/offline";
      # Without KVM the machine is ten times slower.
      TimeoutStartSec = "30min";
      StandardOutput = "journal+console";
      StandardError = "journal+console";
    };
  };
  systemd.services.lifeline-forward-producer = forward "producer" 5001;
  systemd.services.lifeline-forward-consumer = forward "consumer" 5002;

  programs.bash.loginShellInit = ''
    [[ $(tty) == /dev/pts/* ]] || ${pkgs.runtimeShell} ${./console.sh}
  '';
}
